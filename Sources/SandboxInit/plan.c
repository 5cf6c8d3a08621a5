#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// The plan: steps of NUL-terminated fields, the operation's name and then its arguments; `done` ends it.
// Paths are as seen from inside, numbers decimal unless said otherwise.

typedef int operation(char **argument);

static unsigned long number(const char *text) { return strtoul(text, NULL, 0); }

static int step_mount(char **a) {
    return mount(*a[0] ? a[0] : NULL, a[1], *a[2] ? a[2] : NULL, number(a[3]), *a[4] ? a[4] : NULL);
}

/// Adds flags to a mount. Those it has must be kept: in a user namespace they are locked.
static int add_mount_flags(const char *target, unsigned long flags) {
    struct statvfs now;
    if (statvfs(target, &now) < 0) return -1;
    // ST_RDONLY, ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of their MS_ twins; the times have not.
    flags |= now.f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
    if (now.f_flag & ST_NOATIME) flags |= MS_NOATIME;
    if (now.f_flag & ST_NODIRATIME) flags |= MS_NODIRATIME;
    if (now.f_flag & ST_RELATIME) flags |= MS_RELATIME;
    return mount(NULL, target, NULL, MS_BIND | MS_REMOUNT | flags, NULL);
}

static int step_bind(char **a) {
    unsigned long flags = number(a[2]);
    if (mount(a[0], a[1], NULL, MS_BIND | (flags & MS_REC), NULL) < 0) return -1;
    flags &= ~(unsigned long)MS_REC;
    return flags ? add_mount_flags(a[1], flags) : 0;
}

static int step_readonly(char **a) {
    if (mount(a[0], a[0], NULL, MS_BIND | MS_REC, NULL) < 0) return errno == ENOENT ? 0 : -1;
    return add_mount_flags(a[0], MS_RDONLY);
}

/// Hides a file under /dev/null, a directory under an empty one.
static int step_mask(char **a) {
    struct stat what;
    if (stat(a[0], &what) < 0) return errno == ENOENT ? 0 : -1;
    if (!S_ISDIR(what.st_mode)) return mount("/dev/null", a[0], NULL, MS_BIND, NULL);
    const char *empty = CKPT_INIT_DIRECTORY "/empty";
    if (mkdir(empty, 0555) < 0 && errno != EEXIST) return -1;
    if (mount(empty, a[0], NULL, MS_BIND, NULL) < 0) return -1;
    return add_mount_flags(a[0], MS_RDONLY);
}

static int step_mkdir(char **a) {
    if (mkdir(a[0], 0700) < 0) return errno == EEXIST ? 0 : -1;
    return chmod(a[0], (mode_t)strtoul(a[1], NULL, 8));
}

static int step_symlink(char **a) {
    return symlink(a[0], a[1]) < 0 && errno != EEXIST ? -1 : 0;
}

static int write_text(const char *path, int flags, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
    if (fd < 0) return -1;
    size_t length = strlen(text);
    ssize_t put = write(fd, text, length);
    int code = put < 0 ? errno : EIO;
    close(fd);
    errno = code;
    return put == (ssize_t)length ? 0 : -1;
}

static int step_file(char **a) {
    if (write_text(a[0], O_CREAT | O_TRUNC | O_NOFOLLOW, a[2]) < 0) return -1;
    return chmod(a[0], (mode_t)strtoul(a[1], NULL, 8));
}

static int step_sysctl(char **a) {
    char path[256];
    snprintf(path, sizeof path, "/proc/sys/%s", a[0]);
    return write_text(path, 0, a[1]);
}

static int step_hostname(char **a) { return sethostname(a[0], strlen(a[0])); }

/// Enters the time namespace that was made for us: from Linux 6.2 on execve(2) did it.
static int step_clocks(char **a) {
    (void)a;
    int space = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (space < 0) return -1;
    int result = setns(space, CLONE_NEWTIME);
    int code = errno;
    close(space);
    errno = code;
    return result;
}

static int step_loopback(char **a) {
    (void)a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int result = ioctl(fd, SIOCSIFFLAGS, &lo);
    int code = errno;
    close(fd);
    errno = code;
    return result;
}

static int step_limit(char **a) {
    struct rlimit limit = {number(a[1]), number(a[2])};
    return walls_limit(number(a[0]), limit);
}

static int step_keepcaps(char **a) { return walls_capabilities(strtoull(a[0], NULL, 0)); }

static int step_nonewprivs(char **a) {
    (void)a;
    return walls_no_new_privileges();
}

bool keeps_device;

static int step_device(char **a) {
    (void)a;
    keeps_device = true;
    return 0;
}

static int step_seccomp(char **a) { return walls_filter(a[0]); }

static const struct {
    const char *name;
    int arguments;
    operation *run;
} operations[] = {
    {"mount", 5, step_mount},        // source, target, type, flags (MS_*), data
    {"bind", 3, step_bind},          // source, target, flags (MS_REC, and any to set by a remount)
    {"readonly", 1, step_readonly},  // path; a missing one is fine
    {"mask", 1, step_mask},          // path; a missing one is fine
    {"mkdir", 2, step_mkdir},        // path, octal mode; one that exists is left alone
    {"symlink", 2, step_symlink},    // what it says, path; one that exists is left alone
    {"file", 3, step_file},          // path, octal mode, text
    {"hostname", 1, step_hostname},  // name
    {"sysctl", 2, step_sysctl},      // path below /proc/sys, value
    {"loopback", 0, step_loopback},  // brings lo up
    {"clocks", 0, step_clocks},      // enters the time namespace that its children would have
    {"device", 0, step_device},      // descriptor 5 stays open, for who makes another process of it
    // Of commands, not of PID 1:
    {"limit", 3, step_limit},        // RLIMIT_* number, soft, hard
    {"keepcaps", 1, step_keepcaps},  // mask of capability numbers
    {"nonewprivs", 0, step_nonewprivs},
    {"seccomp", 1, step_seccomp},    // the filter's instructions, in hexadecimal
};
enum { OPERATIONS = sizeof operations / sizeof *operations, PLAN = 256 << 10 };

static bool report(int status, int code, const char *operation, const char *argument) {
    char text[512];
    int length = snprintf(text, sizeof text, "%d %s %.400s\n", code, operation, argument);
    if (write(status, text, (size_t)length) < 0) {}
    return false;
}

static ssize_t read_plan(int plan, char *text) {
    size_t length = 0;
    while (length < PLAN) {
        ssize_t got = read(plan, text + length, PLAN - length);
        if (got == 0) return (ssize_t)length;
        if (got < 0 && errno != EINTR) return -1;
        if (got > 0) length += (size_t)got;
    }
    errno = E2BIG;
    return -1;
}

/// The next field; NULL when the plan is at its end.
static char *next_field(char **at, const char *end) {
    char *field = *at;
    char *stop = field < end ? memchr(field, 0, (size_t)(end - field)) : NULL;
    if (stop) *at = stop + 1;
    return stop ? field : NULL;
}

bool apply_plan(int plan, int status) {
    _Static_assert((int)PLAN <= (int)INCOMING, "the plan is read into the scratch frame");
    ssize_t length = read_plan(plan, scratch);
    if (length < 0) return report(status, errno, "plan", "read");
    char *at = scratch, *end = scratch + length, *name;
    while ((name = next_field(&at, end)) && strcmp(name, "done")) {
        char *argument[5] = {"", "", "", "", ""};
        int i = 0;
        while (i < OPERATIONS && strcmp(operations[i].name, name)) i++;
        if (i == OPERATIONS) return report(status, ENOSYS, name, "");
        for (int n = 0; n < operations[i].arguments; n++)
            if (!(argument[n] = next_field(&at, end))) return report(status, EINVAL, name, "");
        bool has_target = operations[i].run == step_mount || operations[i].run == step_bind;
        if (operations[i].run(argument) < 0) return report(status, errno, name, argument[has_target]);
    }
    return name || report(status, EINVAL, "plan", "has no end");
}
