#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Appends the pids in one /proc/PID/task/TID/children.
static size_t append_children(int tasks, const char *thread, pid_t *children, size_t count, size_t limit) {
    char name[64], text[4096];
    snprintf(name, sizeof name, "%.40s/children", thread);
    int fd = openat(tasks, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return count;
    pid_t pid = 0;
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0 || (got < 0 && errno == EINTR))
        for (ssize_t i = 0; i < got; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
            } else if (pid) {
                if (count < limit) children[count++] = pid;
                pid = 0;
            }
        }
    close(fd);
    return count;
}

// The kernel lists children by the thread that made them, so every thread is asked. opendir(3) allocates.
size_t children_of(pid_t pid, pid_t *children, size_t limit) {
    char path[32], entries[2048] __attribute__((aligned(8)));
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    int tasks = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tasks < 0) return 0;
    size_t count = 0;
    long got;
    while ((got = syscall(SYS_getdents64, tasks, entries, sizeof entries)) > 0)
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            if (entry->d_name[0] != '.')
                count = append_children(tasks, entry->d_name, children, count, limit);
            at += entry->d_reclen;
        }
    close(tasks);
    return count;
}

size_t children_of_single(pid_t pid, pid_t *children, size_t limit) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/task/%d", pid, pid);
    return append_children(AT_FDCWD, path, children, 0, limit);
}

static bool contains(const pid_t *pids, size_t count, pid_t pid) {
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid) return true;
    return false;
}

size_t signal_descendants(pid_t pid, int signal, const pid_t *spared, size_t spared_count) {
    static pid_t found[32768];  // a queue: the children of those before `next` have been added
    enum { LIMIT = sizeof found / sizeof *found };
    size_t direct = children_of(pid, found, LIMIT), count = 0;
    for (size_t i = 0; i < direct; i++)
        if (!contains(spared, spared_count, found[i])) found[count++] = found[i];
    for (size_t next = 0; next < count; next++)
        count += children_of(found[next], found + count, LIMIT - count);
    for (size_t i = 0; i < count; i++) kill(found[i], signal);
    return count;
}

/// The hexadecimal mask after `name` in the text of /proc/PID/status.
static unsigned long long signal_mask(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 16) : ~0ull;
}

/// Whether two processes run the same program file.
static bool same_program(pid_t one, pid_t other) {
    char path[32];
    struct stat a, b;
    snprintf(path, sizeof path, "/proc/%d/exe", one);
    if (stat(path, &a) < 0) return false;
    snprintf(path, sizeof path, "/proc/%d/exe", other);
    return stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int interrupted_child(pid_t pid, pid_t parent) {
    char path[32], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close_fd(&fd);
    if (got <= 0) return CHILD_ENDED;
    text[got] = 0;
    if (strstr(text, "State:\tZ")) return CHILD_ENDED;
    if (signal_mask(text, "SigIgn:") >> (SIGINT - 1) & 1) return CHILD_HANDLES;
    if (!(signal_mask(text, "SigCgt:") >> (SIGINT - 1) & 1)) return CHILD_DIES;
    return same_program(pid, parent) ? CHILD_FORKED : CHILD_HANDLES;
}

int interrupted_children(pid_t pid, const pid_t *spared, size_t spared_count) {
    pid_t children[MANY];
    size_t count = children_of(pid, children, MANY);
    int found = 0;
    for (size_t i = 0; i < count; i++)
        if (!contains(spared, spared_count, children[i])) found |= interrupted_child(children[i], pid);
    return found;
}
