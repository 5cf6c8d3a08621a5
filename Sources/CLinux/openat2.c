#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_open_in_root(int root, const char *path, int flags) {
    return clinux_create_in_root(root, path, flags, 0);
}

int clinux_create_in_root(int root, const char *path, int flags, unsigned mode) {
    struct open_how how = {
        .flags = (unsigned)flags,
        .mode = mode,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    int file;
    // EAGAIN: something was renamed while `..` was followed, so the kernel cannot tell whether it stayed inside.
    for (int tries = 0; tries < 1000; tries++) {
        file = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
        if (file >= 0 || errno != EAGAIN) break;
    }
    return file;
}
