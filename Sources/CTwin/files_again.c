#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "task.h"

static bool leads_to(pid_t pid, const char *name, const char *wanted) {
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return false;
    target[length] = 0;
    return !strcmp(target, wanted);
}

/// open(2) in the name of the process, which has its own root and rights.
static long open_in(struct task *task, const char *path, unsigned flags) {
    char place[SCRATCH];
    size_t size = strlen(path) + 1;
    if (size > sizeof place) return -ENAMETOOLONG;
    memcpy(place, path, size);
    return task_call_with(task, SYS_openat, (unsigned long)AT_FDCWD, place, size, true, flags);
}

static bool become(struct task *task, long opened, int number, unsigned flags) {
    if (opened < 0) return false;
    if (opened == number) return true;
    long made = task_call(task, SYS_dup3, (unsigned long)opened, (unsigned long)number, flags & O_CLOEXEC, 0);
    task_call(task, SYS_close, (unsigned long)opened, 0, 0, 0);
    return made == number;
}

static bool open_anew(const struct open_file *file, struct task *task) {
    mode_t kind = file->status.st_mode & S_IFMT;
    char name[32];
    if ((kind != S_IFREG && kind != S_IFDIR) || file->deleted) return true;
    snprintf(name, sizeof name, "fd/%d", file->number);
    if (leads_to(task->pid, name, file->path)) return true;
    unsigned flags = file->flags & ~(unsigned)(O_CREAT | O_EXCL | O_TRUNC);
    if (!become(task, open_in(task, file->path, flags), file->number, flags)) return false;
    if (kind == S_IFDIR && file->offset == 0) return true;
    unsigned long offset = (unsigned long)file->offset;
    long at = task_call(task, SYS_lseek, (unsigned long)file->number, offset, SEEK_SET, 0);
    return at == file->offset;
}

bool files_open_anew(const struct files *files, struct task *task) {
    for (size_t i = 0; i < files->count; i++)
        if (!open_anew(&files->list[i], task))
            return refuse("%s (descriptor %d) cannot be opened again", files->list[i].path,
                          files->list[i].number);
    if (leads_to(task->pid, "cwd", files->directory) || strstr(files->directory, " (deleted)")) return true;
    char place[SCRATCH];
    size_t size = strlen(files->directory) + 1;
    if (size > sizeof place) return refuse("the working directory has too long a name");
    memcpy(place, files->directory, size);
    if (task_call_with(task, SYS_chdir, 0, place, size, false, 0) == 0) return true;
    return refuse("the working directory %s cannot be entered again", files->directory);
}

static const struct open_file *find(const struct files *files, int number) {
    for (size_t i = 0; i < files->count; i++)
        if (files->list[i].number == number) return &files->list[i];
    return NULL;
}

/// Closes what the process has opened since.
static bool close_new(const struct files *files, struct task *task) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/fd", task->pid);
    DIR *directory = opendir(path);
    if (!directory) return refuse("PID 1: its descriptors cannot be read");
    enum { MANY = 1024 };
    int wanted[MANY];
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) && count < MANY;)
        if (entry->d_name[0] != '.' && !find(files, atoi(entry->d_name)))
            wanted[count++] = atoi(entry->d_name);
    closedir(directory);
    for (size_t i = 0; i < count; i++) task_call(task, SYS_close, (unsigned long)wanted[i], 0, 0, 0);
    return count < MANY || refuse("PID 1 has too many descriptors");
}

/// A pidfd of a process, above the numbers that are to be given again.
static long open_high(struct task *init, pid_t inner) {
    enum { HIGH = 4000 };
    long low = task_call(init, SYS_pidfd_open, (unsigned long)inner, 0, 0, 0);
    if (low < 0) return low;
    long high = task_call(init, SYS_fcntl, (unsigned long)low, F_DUPFD_CLOEXEC, HIGH, 0);
    // Where it may not have so many the next numbers above are as good.
    if (high < 0) high = task_call(init, SYS_fcntl, (unsigned long)low, F_DUPFD_CLOEXEC, HIGH / 8, 0);
    task_call(init, SYS_close, (unsigned long)low, 0, 0, 0);
    return high;
}

bool files_of_init(const struct files *files, struct task *init, pid_t twin, pid_t twin_inner) {
    if (!close_new(files, init)) return false;
    long process = -1;
    bool good = true;
    for (size_t i = 0; good && i < files->count; i++) {
        int number = files->list[i].number;
        if (files->list[i].is_line) {
            // PID 1 has it for open. It reads the end of it out of /dev/null, its stdin, and closes it.
            task_call(init, SYS_dup3, 0, (unsigned long)number, O_CLOEXEC, 0);
            continue;
        }
        if (syscall(SYS_kcmp, init->pid, twin, KCMP_FILE, number, number) == 0) continue;
        // PID 1 takes it from its own copy, as the very same open file.
        if (process < 0) process = open_high(init, twin_inner);
        long got = process < 0 ? process
                               : task_call(init, SYS_pidfd_getfd, (unsigned long)process,
                                           (unsigned long)number, 0, 0);
        // Whatever PID 1 has open but its first three is closed in what it starts.
        good = become(init, got, number, number > 2 ? O_CLOEXEC : 0);
        if (!good) refuse("PID 1 cannot have its descriptor %d again: %s", number, strerror((int)-got));
    }
    if (process >= 0) task_call(init, SYS_close, (unsigned long)process, 0, 0, 0);
    return good;
}
