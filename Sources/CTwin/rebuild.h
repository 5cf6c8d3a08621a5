// Processes that are made by a script.
#ifndef CTWIN_REBUILD_H
#define CTWIN_REBUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// Stops PID 1 of a fresh sandbox and has it and those it makes follow a plan, which lies at `plan` in the memory of
/// `asker`, up to their first stop; false with `why` set.
bool rebuild_begin(pid_t init, pid_t asker, uint64_t plan);
/// Has them follow the rest of it and gives them the registers of their notes; they stand still as they were saved.
bool rebuild_end(void);
/// Tells the first `limit` of those that were made, in the order of the notes, and how many that are.
size_t rebuild_pids(int32_t *pids, size_t limit);
/// Lets them go on.
void rebuild_release(void);
/// Ends them.
void rebuild_drop(void);

#endif
