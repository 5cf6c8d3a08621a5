#define _GNU_SOURCE
#include "network_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <netlink/netlink.h>
#include <netlink/route/link.h>

int clinux_network_fail(struct clinux_spawn_failure *failure, const char *step, int code) {
    failure->step = step;
    failure->code = code;
    return -1;
}

static int fail(struct clinux_spawn_failure *failure, const char *step, int code) {
    return clinux_network_fail(failure, step, code);
}

// The kernel's own "lo" is always interface 1 of a namespace.
static int loopback_up(struct clinux_spawn_failure *failure) {
    struct nl_sock *socket = nl_socket_alloc();
    if (!socket) return fail(failure, "nl_socket_alloc", ENOMEM);
    struct rtnl_link *device = rtnl_link_alloc(), *change = rtnl_link_alloc();
    int status = device && change ? nl_connect(socket, NETLINK_ROUTE) : -NLE_NOMEM;
    if (status == 0) {
        rtnl_link_set_ifindex(device, 1);
        rtnl_link_set_flags(change, 0x1 /* IFF_UP */);
        status = rtnl_link_change(socket, device, change, 0);
    }
    rtnl_link_put(device);
    rtnl_link_put(change);
    nl_socket_free(socket);
    return status == 0 ? 0 : fail(failure, nl_geterror(status), EIO);
}

// /proc/sys/net shows the network namespace of the thread that opens it.
static int write_sysctls(const char *const *sysctls, int count, struct clinux_spawn_failure *failure) {
    for (int i = 0; i < count; i++) {
        const char *path = sysctls[2 * i], *value = sysctls[2 * i + 1];
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) continue;  // this kernel has no such switch
        if (fd < 0) return fail(failure, path, errno);
        ssize_t n = write(fd, value, strlen(value));
        int code = errno;
        close(fd);
        if (n < 0) return fail(failure, path, code);
    }
    return 0;
}

static int fill(const struct clinux_network *network, struct clinux_spawn_failure *failure) {
    // The wall first: there is no moment without it.
    if (network->port_count >= 0 && clinux_wall_ports(network->ports, network->port_count, failure)) return -1;
    if (loopback_up(failure)) return -1;
    if (network->device && clinux_make_tap(network, failure)) return -1;
    return write_sysctls(network->sysctls, network->sysctl_count, failure);
}

int clinux_prepare_network(int netns_fd, int own_netns_fd, const struct clinux_network *network,
                           struct clinux_spawn_failure *failure) {
    if (setns(netns_fd, CLONE_NEWNET)) return fail(failure, "setns(net)", errno);
    int result = fill(network, failure);
    if (setns(own_netns_fd, CLONE_NEWNET)) return fail(failure, "setns(back)", errno);
    return result;
}

int clinux_enter_nursery(const char *tcp_buckets, const char *udp_buckets, struct clinux_spawn_failure *failure) {
    const char *const sysctls[] = {
        "/proc/sys/net/ipv4/tcp_child_ehash_entries", tcp_buckets,
        "/proc/sys/net/ipv4/udp_child_hash_entries", udp_buckets,
    };
    if (unshare(CLONE_NEWNET)) return fail(failure, "unshare(net)", errno);
    if (loopback_up(failure) || write_sysctls(sysctls, 2, failure)) return -1;
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    return fd < 0 ? fail(failure, "open the network namespace", errno) : fd;
}

int clinux_mount_private_sysfs(const char *path, struct clinux_spawn_failure *failure) {
    int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0) return fail(failure, "open the network namespace", errno);
    int result = 0;
    if (unshare(CLONE_NEWNET)) {
        result = fail(failure, "unshare(net)", errno);
    } else {
        const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
        if (mount("sysfs", path, "sysfs", flags, 0)) result = fail(failure, "mount", errno);
        if (setns(own, CLONE_NEWNET)) result = fail(failure, "setns(back)", errno);
    }
    close(own);
    return result;
}
