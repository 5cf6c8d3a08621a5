#include "init.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// What commands are kept from. PID 1 itself is not: it needs its capabilities to start them as any user, and the
// limits of a command would be limits on serving all of them. Everything is in memory of ours, so a restored or
// forked PID 1 starts commands behind the same walls. The bounding set and no_new_privs are inherited from PID 1,
// which executes nothing and so loses nothing by them.

static struct {
    bool bounded, no_new_privileges;
    uint64_t capabilities;  // of root's commands; what others have the kernel knows
    uint32_t limited;       // a bit for each limit below
    struct rlimit limits[RLIM_NLIMITS];
    unsigned short length;
    struct sock_filter filter[BPF_MAXINSNS];
} walls;

int walls_capabilities(uint64_t keep) {
    for (unsigned cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap) < 0) return -1;
    walls.bounded = true;
    walls.capabilities = keep;
    return 0;
}

int walls_no_new_privileges(void) {
    walls.no_new_privileges = true;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int walls_limit(unsigned long resource, struct rlimit limit) {
    if (resource >= RLIM_NLIMITS) {
        errno = EINVAL;
        return -1;
    }
    walls.limited |= 1u << resource;
    walls.limits[resource] = limit;
    return 0;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int walls_filter(const char *hex) {
    size_t length = strlen(hex) / 2;
    unsigned char *bytes = (unsigned char *)walls.filter;
    errno = EINVAL;
    if (!length || strlen(hex) % 2 || length % sizeof *walls.filter || length > sizeof walls.filter) return -1;
    for (size_t i = 0; i < length; i++) {
        int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0) return -1;
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    walls.length = (unsigned short)(length / sizeof *walls.filter);
    return 0;
}

bool walls_limit_process(void) {
    for (int i = 0; i < RLIM_NLIMITS; i++)
        if (walls.limited >> i & 1 && setrlimit((__rlimit_resource_t)i, &walls.limits[i]) < 0) return false;
    return true;
}

/// Without no_new_privs the kernel wants CAP_SYS_ADMIN of who sets a filter (seccomp(2)). The exec takes it away
/// from everybody who is not to have it.
static bool filter_needs_admin(void) { return walls.length && !walls.no_new_privileges; }

bool walls_before_user(uid_t uid) {
    return !uid || !filter_needs_admin() || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0;
}

/// The permitted and the effective set, for the time until the exec; nothing is inheritable.
static bool set_capabilities(uint64_t set) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)set, (uint32_t)set, 0},
        {(uint32_t)(set >> 32), (uint32_t)(set >> 32), 0},
    };
    return syscall(SYS_capset, &head, data) == 0;
}

bool walls_before_exec(uid_t uid) {
    if (walls.bounded) {
        uint64_t keep = uid ? 0 : walls.capabilities;
        if (filter_needs_admin()) keep |= UINT64_C(1) << CAP_SYS_ADMIN;
        if (!set_capabilities(keep)) return false;
    }
    if (!walls.length) return true;
    struct sock_fprog program = {walls.length, walls.filter};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}
