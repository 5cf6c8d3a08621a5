// Hearing of what changes in directories (fanotify(7)).
#ifndef CLINUX_CHANGE_QUEUE_H
#define CLINUX_CHANGE_QUEUE_H

/// A queue of changes that never makes anybody wait: 16,384 of them, and then a note that more were lost. Close-on-exec,
/// or -1.
int clinux_change_queue(void);

/// Has the queue hear of what changes in a directory: its names and metadata, its files' data and metadata, and that one
/// of them is closed that was open for writing. `path` is below `root`, and no link or mount is followed on the way to it.
/// 0, or -1.
int clinux_hear_changes(int queue, int root, const char *path);

/// Whether `merged` is the root of an overlay whose upper directory is `upper`.
int clinux_is_overlay_of(int merged, int upper);

#endif
