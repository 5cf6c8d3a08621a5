#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "look.h"
#include "task.h"

// A file without a name that is larger costs too much to keep in memory; statfs(2)'s f_type of an overlay.
enum { LARGEST = 4 << 20, OVERLAY = 0x794c7630 };

static int pidfd_of(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/// The open file itself, not another on the same inode.
static int borrow(pid_t pid, int number) {
    int process = pidfd_of(pid);
    if (process < 0) return -1;
    int file = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    int code = errno;
    close(process);
    errno = code;
    return file;
}

static char *link_of(pid_t pid, const char *name) {
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return NULL;
    target[length] = 0;
    return strdup(target);
}

static bool note_state(struct open_file *file, pid_t pid, const char *name) {
    char info[48];
    snprintf(info, sizeof info, "fdinfo/%d", file->number);
    const char *text = proc_text(pid, info, NULL);
    if (!text || sscanf(text, "pos: %lld flags: %o", &file->offset, &file->flags) != 2)
        return refuse("%s: descriptor %d cannot be looked at", name, file->number);
    if (strstr(text, "\nlock:")) return refuse("%s holds a lock on a file (descriptor %d)", name, file->number);
    if (file->flags & O_ASYNC) return refuse("%s gets signals of descriptor %d", name, file->number);
    return true;
}

static bool keep_content(struct open_file *file, pid_t pid, const char *name) {
    char path[64];
    size_t size = (size_t)file->status.st_size;
    if (size > LARGEST) return refuse("%s has a large file open that has no name (descriptor %d)", name, file->number);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, file->number);
    int content = open(path, O_RDONLY | O_CLOEXEC);
    file->content = malloc(size + 1);
    bool good = content >= 0 && file->content && pread(content, file->content, size, 0) == (ssize_t)size;
    if (content >= 0) close(content);
    return good || refuse("%s: descriptor %d cannot be read", name, file->number);
}

static bool lies_in_overlay(pid_t pid, int number) {
    char path[64];
    struct statfs where;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    return statfs(path, &where) == 0 && where.f_type == OVERLAY;
}

static bool is_stateless_device(const struct stat *status) {
    // null, zero, full, random, urandom (Documentation/admin-guide/devices.txt).
    unsigned minor_number = minor(status->st_rdev);
    return major(status->st_rdev) == 1 &&
           (minor_number == 3 || minor_number == 5 || (minor_number >= 7 && minor_number <= 9));
}

static bool is_empty_pipe(pid_t pid, int number) {
    int pipe = borrow(pid, number), held = -1;
    if (pipe < 0) return false;
    if (ioctl(pipe, FIONREAD, &held)) held = -1;
    close(pipe);
    return held == 0;
}

static bool judge(struct open_file *file, pid_t pid, const char *name, bool is_init) {
    int number = file->number;
    switch (file->status.st_mode & S_IFMT) {
    case S_IFREG:
        if (!lies_in_overlay(pid, number))
            return refuse("%s has %s open, which no capture holds (descriptor %d)", name, file->path, number);
        file->deleted = file->status.st_nlink == 0;
        return !file->deleted || keep_content(file, pid, name);
    case S_IFDIR:
        if (lies_in_overlay(pid, number)) return true;
        break;
    case S_IFCHR:
        if (is_stateless_device(&file->status)) return true;
        break;
    case S_IFIFO:
        if (strncmp(file->path, "pipe:", 5)) break;
        if (is_empty_pipe(pid, number)) return true;
        return refuse("%s has a pipe with something in it (descriptor %d)", name, number);
    case S_IFSOCK:
        if (is_init) return true;
        break;
    }
    return refuse("%s has %s open (descriptor %d), whose state a twin would share", name, file->path, number);
}

static bool note(struct files *files, pid_t pid, int number, const char *name, bool is_init) {
    struct open_file *list = realloc(files->list, (files->count + 1) * sizeof *list);
    if (!list) return refuse("out of memory");
    files->list = list;
    struct open_file *file = &list[files->count++];
    *file = (struct open_file){.number = number};
    char path[32], whole[64];
    snprintf(path, sizeof path, "fd/%d", number);
    snprintf(whole, sizeof whole, "/proc/%d/%s", pid, path);
    file->path = link_of(pid, path);
    if (!file->path || stat(whole, &file->status))
        return refuse("%s: descriptor %d cannot be looked at", name, number);
    return note_state(file, pid, name) && judge(file, pid, name, is_init);
}

bool files_note(struct files *files, pid_t pid, bool is_init) {
    char path[32], name[64] = "PID 1";
    *files = (struct files){0};
    if (!is_init) name_process(name, sizeof name, pid);
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    if (!directory) return refuse("%s: its descriptors cannot be read", name);
    bool good = true;
    for (struct dirent *entry; good && (entry = readdir(directory));)
        if (entry->d_name[0] != '.') good = note(files, pid, atoi(entry->d_name), name, is_init);
    closedir(directory);
    if (!good) return false;
    files->directory = link_of(pid, "cwd");
    return files->directory || refuse("%s: its working directory cannot be read", name);
}

void files_free(struct files *files) {
    for (size_t i = 0; i < files->count; i++) {
        free(files->list[i].path);
        free(files->list[i].content);
    }
    free(files->list);
    free(files->directory);
    *files = (struct files){0};
}

static bool empty_pipe(int pipe) {
    char bytes[4096];
    for (int held = 0; ioctl(pipe, FIONREAD, &held) == 0 && held > 0;)
        if (read(pipe, bytes, (size_t)held < sizeof bytes ? (size_t)held : sizeof bytes) <= 0) return false;
    return true;
}

static bool put_content_back(const struct open_file *file, pid_t keeper) {
    char path[64], *now = malloc((size_t)file->status.st_size + 1);
    ssize_t size = (ssize_t)file->status.st_size;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", keeper, file->number);
    int content = open(path, O_RDWR | O_CLOEXEC);
    bool good = now && content >= 0;
    if (good && (pread(content, now, (size_t)size + 1, 0) != size || memcmp(now, file->content, (size_t)size)))
        good = pwrite(content, file->content, (size_t)size, 0) == size && ftruncate(content, size) == 0;
    struct timespec times[2] = {file->status.st_atim, file->status.st_mtim};
    good = good && futimens(content, times) == 0;
    free(now);
    if (content >= 0) close(content);
    return good;
}

static bool put_back(const struct open_file *file, pid_t keeper) {
    mode_t kind = file->status.st_mode & S_IFMT;
    if (kind == S_IFCHR || kind == S_IFSOCK) return true;
    if (file->deleted && !put_content_back(file, keeper)) return false;
    int own = borrow(keeper, file->number);
    if (own < 0) return false;
    bool good = true;
    if (kind == S_IFIFO && (file->flags & O_ACCMODE) != O_WRONLY) good = empty_pipe(own);
    if (kind != S_IFIFO && lseek(own, 0, SEEK_CUR) != file->offset)
        good = lseek(own, file->offset, SEEK_SET) == file->offset;
    const int changeable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC;
    int flags = fcntl(own, F_GETFL), wanted = (int)file->flags & changeable;
    if (good && (flags & changeable) != wanted) good = fcntl(own, F_SETFL, (flags & ~changeable) | wanted) == 0;
    // A lock that was taken since through the shared open file would stay.
    if (good && kind == S_IFREG) {
        char info[48];
        snprintf(info, sizeof info, "fdinfo/%d", file->number);
        const char *text = proc_text(keeper, info, NULL);
        struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        if (text && strstr(text, "\nlock:")) good = flock(own, LOCK_UN) == 0 && fcntl(own, F_OFD_SETLK, &all) == 0;
    }
    close(own);
    return good;
}

bool files_put_back(const struct files *files, pid_t keeper) {
    for (size_t i = 0; i < files->count; i++)
        if (!put_back(&files->list[i], keeper))
            return refuse("%s (descriptor %d) cannot be put back: %s", files->list[i].path, files->list[i].number,
                          strerror(errno));
    return true;
}
