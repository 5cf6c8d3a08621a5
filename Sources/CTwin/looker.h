// Somebody beside the holder who looks while the holder has processes make calls, on another processor.
#ifndef CTWIN_LOOKER_H
#define CTWIN_LOOKER_H

#include <stdbool.h>

/// Has `look` called beside the caller, which must call looker_end before it does so again.
void looker_begin(bool (*look)(void));
/// Waits until it has returned; what it returned, and with false its `why`.
bool looker_end(void);

#endif
