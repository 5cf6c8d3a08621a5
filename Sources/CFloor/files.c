#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int cfloor_run(const char *path) {
    char *const arguments[] = {(char *)path, 0};
    char *const environment[] = {0};
    pid_t pid = vfork();
    if (pid == 0) {
        execve(path, arguments, environment);
        _exit(127);
    }
    int status;
    if (pid < 0) return -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int cfloor_write_file(const char *path, const void *bytes, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) return -1;
    ssize_t written = write(file, bytes, size);
    return close(file) || written != (ssize_t)size ? -1 : 0;
}

int cfloor_read_file(const char *path, void *bytes, size_t size) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    ssize_t got = read(file, bytes, size);
    return close(file) || got != (ssize_t)size ? -1 : 0;
}

void cfloor_copy(void *to, const void *from, size_t size, int times) {
    for (int i = 0; i < times; i++) {
        memcpy(to, from, size);
        // Somebody may look at it: the next copy is not the same one.
        __asm__ volatile("" : : "r"(to) : "memory");
    }
}

static int take_away(const char *path, const struct stat *status, int type, struct FTW *place) {
    (void)status, (void)type, (void)place;
    return remove(path);
}

int cfloor_remove_tree(const char *path) {
    // What somebody else takes away meanwhile ends a walk: it is begun again, as long as there is something left.
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat status;
        if (lstat(path, &status)) return errno == ENOENT ? 0 : -1;
        if (nftw(path, take_away, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) && errno != ENOENT) return -1;
    }
    errno = EBUSY;
    return -1;
}
