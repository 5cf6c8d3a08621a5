#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "look.h"
#include "task.h"

// A file without a name that is larger costs too much to keep in memory; statfs(2)'s f_type of an overlay
// and of pipes.
enum { LARGEST = 4 << 20, OVERLAY = 0x794c7630, PIPEFS = 0x50495045 };

/// The open file itself, not another on the same inode.
static int borrow(int process, int number) { return (int)syscall(SYS_pidfd_getfd, process, number, 0); }

static int pidfd_of(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

static char *link_of(pid_t pid, const char *name) {
    char path[64], target[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return NULL;
    target[length] = 0;
    return strdup(target);
}

static mode_t mode_of(pid_t pid, const char *name) {
    char path[64];
    struct stat status = {0};
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return stat(path, &status) ? 0 : status.st_mode;
}

static bool note_path(struct open_file *file, pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "fd/%d", file->number);
    file->path = link_of(pid, path);
    return file->path || refuse("process %d: descriptor %d cannot be looked at", pid, file->number);
}

/// What only /proc tells: the flag of the descriptor, and locks.
static bool note_state(struct open_file *file, pid_t pid) {
    char info[48];
    snprintf(info, sizeof info, "fdinfo/%d", file->number);
    const char *text = proc_text(pid, info, NULL);
    if (!text || sscanf(text, "pos: %*d flags: %o", &file->flags) != 1)
        return refuse_of(pid, "has descriptor %d, which cannot be looked at", file->number);
    if (strstr(text, "\nlock:"))
        return refuse_of(pid, "holds a lock on a file (descriptor %d)", file->number);
    return true;
}

static bool keep_content(struct open_file *file, pid_t pid) {
    char path[64];
    size_t size = (size_t)file->status.st_size;
    if (size > LARGEST)
        return refuse_of(pid, "has a large file open that has no name (descriptor %d)", file->number);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, file->number);
    int content = open(path, O_RDONLY | O_CLOEXEC);
    file->content = malloc(size + 1);
    bool good = content >= 0 && file->content && pread(content, file->content, size, 0) == (ssize_t)size;
    if (content >= 0) close(content);
    return good || refuse_of(pid, "has descriptor %d, which cannot be read", file->number);
}

static bool lies_in_overlay(int own) {
    struct statfs where;
    return fstatfs(own, &where) == 0 && where.f_type == OVERLAY;
}

static bool is_stateless_device(const struct stat *status) {
    // null, zero, full, random, urandom (Documentation/admin-guide/devices.txt).
    unsigned minor_number = minor(status->st_rdev);
    return major(status->st_rdev) == 1 &&
           (minor_number == 3 || minor_number == 5 || (minor_number >= 7 && minor_number <= 9));
}

static bool note_named(struct open_file *file, int own, pid_t pid, bool is_init) {
    if (!note_path(file, pid)) return false;
    if (!lies_in_overlay(own)) {
        refuse_of(pid, "has %s open, which no capture holds (descriptor %d)", file->path, file->number);
        // PID 1 has looked for somebody's children.
        return is_init ? for_now(false) : false;
    }
    file->offset = lseek(own, 0, SEEK_CUR);
    file->deleted = file->status.st_nlink == 0 && S_ISREG(file->status.st_mode);
    return note_state(file, pid) && (!file->deleted || keep_content(file, pid));
}

static bool is_pipe(int own, const struct stat *status) {
    // All of them lie on one device.
    static dev_t device;
    struct statfs where;
    if (!device && fstatfs(own, &where) == 0 && where.f_type == PIPEFS) device = status->st_dev;
    return device && status->st_dev == device;
}

static bool note_kind(struct open_file *file, int own, pid_t pid, bool is_init) {
    int value = -1;
    socklen_t size = sizeof value;
    switch (file->status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
        return note_named(file, own, pid, is_init);
    case S_IFCHR:
        if (is_stateless_device(&file->status)) return true;
        break;
    case S_IFIFO:
        // A FIFO that has a name is another thing than pipe(2)'s.
        if (!is_pipe(own, &file->status)) break;
        if (ioctl(own, FIONREAD, &value) == 0 && value == 0) return true;
        return for_now(refuse_of(pid, "has a pipe with something in it (descriptor %d)", file->number));
    case S_IFSOCK:
        if (!is_init) break;
        file->is_line = getsockopt(own, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value == 0;
        return true;
    }
    if (!note_path(file, pid)) return false;
    return refuse_of(pid, "has %s open (descriptor %d), whose state a twin would share", file->path,
                     file->number);
}

static bool note(struct files *files, int process, pid_t pid, int number, bool is_init) {
    if (files->count == files->room) {
        size_t room = files->room ? 2 * files->room : 16;
        struct open_file *list = realloc(files->list, room * sizeof *list);
        if (!list) return refuse("out of memory");
        files->list = list;
        files->room = room;
    }
    struct open_file *file = &files->list[files->count++];
    *file = (struct open_file){.number = number};
    int own = borrow(process, number);
    if (own < 0 || fstat(own, &file->status)) {
        if (own >= 0) close(own);
        return refuse_of(pid, "has descriptor %d, which cannot be looked at", number);
    }
    // Those of a named one are noted with its offset.
    if (S_ISFIFO(file->status.st_mode)) file->flags = (unsigned)fcntl(own, F_GETFL);
    bool good = note_kind(file, own, pid, is_init) &&
                (!(file->flags & O_ASYNC) || refuse_of(pid, "gets signals of descriptor %d", number));
    close(own);
    return good;
}

bool files_note(struct files *files, pid_t pid, bool is_init) {
    char path[32];
    *files = (struct files){0};
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *directory = opendir(path);
    int process = pidfd_of(pid);
    bool good = (directory && process >= 0) || refuse_of(pid, "has descriptors that cannot be read");
    for (struct dirent *entry; good && (entry = readdir(directory));)
        if (entry->d_name[0] != '.') good = note(files, process, pid, atoi(entry->d_name), is_init);
    if (directory) closedir(directory);
    if (process >= 0) close(process);
    if (!good) return false;
    files->directory = link_of(pid, "cwd");
    files->directory_mode = mode_of(pid, "cwd");
    files->root_mode = mode_of(pid, "root");
    return files->directory || refuse_of(pid, "has a working directory that cannot be read");
}

bool files_leave_line(struct files *files, struct task *keeper) {
    for (size_t i = 0; i < files->count; i++) {
        if (!files->list[i].is_line) continue;
        // Else the server would never see that PID 1 has closed it. PID 1 takes it for one that broke.
        task_call(keeper, SYS_close, (unsigned long)files->list[i].number, 0, 0, 0);
    }
    return true;
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
    bool same = good && pread(content, now, (size_t)size + 1, 0) == size &&
                !memcmp(now, file->content, (size_t)size);
    if (good && !same)
        good = pwrite(content, file->content, (size_t)size, 0) == size && ftruncate(content, size) == 0;
    struct timespec times[2] = {file->status.st_atim, file->status.st_mtim};
    good = good && futimens(content, times) == 0;
    free(now);
    if (content >= 0) close(content);
    return good;
}

static bool put_back(const struct open_file *file, int process, pid_t keeper) {
    mode_t kind = file->status.st_mode & S_IFMT;
    if (kind == S_IFCHR || kind == S_IFSOCK) return true;
    if (file->deleted && !put_content_back(file, keeper)) return false;
    int own = borrow(process, file->number);
    if (own < 0) return false;
    bool good = true;
    if (kind == S_IFIFO && (file->flags & O_ACCMODE) != O_WRONLY) good = empty_pipe(own);
    if (kind != S_IFIFO && lseek(own, 0, SEEK_CUR) != file->offset)
        good = lseek(own, file->offset, SEEK_SET) == file->offset;
    const int changeable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_ASYNC;
    int flags = fcntl(own, F_GETFL), wanted = (int)file->flags & changeable;
    if (good && (flags & changeable) != wanted)
        good = fcntl(own, F_SETFL, (flags & ~changeable) | wanted) == 0;
    // A lock that was taken since through the shared open file would stay.
    if (good && kind == S_IFREG) {
        char info[48];
        snprintf(info, sizeof info, "fdinfo/%d", file->number);
        const char *text = proc_text(keeper, info, NULL);
        struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
        if (text && strstr(text, "\nlock:"))
            good = flock(own, LOCK_UN) == 0 && fcntl(own, F_OFD_SETLK, &all) == 0;
    }
    close(own);
    return good;
}

bool files_put_back(const struct files *files, pid_t keeper) {
    int process = pidfd_of(keeper);
    bool good = true;
    for (size_t i = 0; good && i < files->count; i++)
        good = put_back(&files->list[i], process, keeper) ||
               refuse("descriptor %d cannot be put back: %s", files->list[i].number, strerror(errno));
    if (process >= 0) close(process);
    return good;
}
