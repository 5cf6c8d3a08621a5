#define _GNU_SOURCE
#include "clinux.h"

#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_open_in_root(int root, const char *path, int flags) {
    struct open_how how = {
        .flags = (unsigned)flags,
        .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}
