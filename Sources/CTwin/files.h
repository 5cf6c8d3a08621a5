// The open files of a process. Twin and original share what the kernel keeps of an open file, its offset and
// flags and what is in a pipe, so that is noted when the twin is made and put back when it is forked again.
#ifndef CTWIN_FILES_H
#define CTWIN_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct task;

struct open_file {
    int number;
    unsigned flags;  // of the open file; of a named one as /proc/PID/fdinfo shows them, O_CLOEXEC included
    long long offset;
    struct stat status;
    char *path;     // of a file or directory, as /proc/PID/fd shows it
    bool is_line;   // PID 1's connection to the server
    bool deleted;   // its name was gone: `content` holds what was in it
    char *content;
};

struct files {
    struct open_file *list;
    size_t count, room;
    char *directory;  // the working directory
    mode_t directory_mode, root_mode;
};

/// Notes what a process that is held has open; false with `why` set where some of it would not be exact.
/// PID 1 may also have the socket on which it listens.
bool files_note(struct files *files, pid_t pid, bool is_init);
/// Closes in PID 1's copy what leads to the server.
bool files_leave_line(struct files *files, struct task *keeper);
void files_free(struct files *files);

/// Puts back what `keeper`, a twin, shares with whoever was ended: offsets, flags, what is in pipes.
bool files_put_back(const struct files *files, pid_t keeper);
/// Opens anew what `task`, a fork of the twin or PID 1, has open by a name that leads to another file now.
bool files_open_anew(const struct files *files, struct task *task);

/// Closes in PID 1 what it has opened since, and gives it again what it has closed, out of its twin.
bool files_of_init(const struct files *files, struct task *init, pid_t twin, pid_t twin_inner);

#endif
