#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int clinux_set_hostname(pid_t pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/uts", (int)pid);
    int own = open("/proc/thread-self/ns/uts", O_RDONLY | O_CLOEXEC);
    int theirs = open(path, O_RDONLY | O_CLOEXEC);
    int result = -1, code = errno;
    if (own >= 0 && theirs >= 0) {
        result = setns(theirs, CLONE_NEWUTS);
        code = errno;
        if (result == 0) {
            result = sethostname(name, strlen(name));
            code = errno;
            if (setns(own, CLONE_NEWUTS)) {
                result = -1;
                code = errno;
            }
        }
    }
    if (own >= 0) close(own);
    if (theirs >= 0) close(theirs);
    errno = code;
    return result;
}
