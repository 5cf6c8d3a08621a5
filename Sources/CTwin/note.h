// Processes that stand still to be noted.
#ifndef CTWIN_NOTE_H
#define CTWIN_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cnote.h"

/// All notes, one struct cnote for each process, PID 1's first, then what they refer to by number of byte.
extern char *notes;
extern size_t notes_size, notes_count;

/// Stops every process of a sandbox; false with `why` set, and then they run on.
bool notes_hold(pid_t init);
/// Tells the first `limit` that are held, and how many that are.
size_t notes_pids(int32_t *pids, size_t limit);
/// Notes what those that are held are made of; false with `why` set where that is more than struct cnote has room for,
/// and then they run on.
bool notes_take(void);
struct set;
/// Notes what the originals of a set were made of; false with `why` set.
bool notes_take_set(struct set *set);
/// Gives a process that stands still the vectors of a note.
bool vectors_give(const struct cnote *note, pid_t pid);
/// Lets them go on.
void notes_release(void);

#endif
