#define _GNU_SOURCE
#include "clinux.h"

#include <sched.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pidfd_getfd(int pidfd, int fd) { return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0);
}

long clinux_filesystem_type(const char *path) {
    struct statfs status;
    return statfs(path, &status) ? -1 : (long)status.f_type;
}

long clinux_filesystem_type_of(int file) {
    struct statfs status;
    return fstatfs(file, &status) ? -1 : (long)status.f_type;
}

int clinux_set_xattr(const char *path, const char *name, const char *value) {
    return lsetxattr(path, name, value, strlen(value), 0);
}

int clinux_unshare_mounts(void) { return unshare(CLONE_NEWNS); }

int clinux_enter_root(const char *path) {
    if (unshare(CLONE_FS)) return -1;
    if (chroot(path)) return -1;
    return chdir("/");
}
