#define _GNU_SOURCE
#include "network.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// One TCP connection of the namespace.
struct connection {
    uint8_t family;
    struct inet_diag_sockid id;
};

struct connections {
    struct connection *items;
    int count, room;
};

// Connections that carry or may still carry data; not listeners, and not what waits for an answer to its SYN, which
// is sent again.
static const uint32_t connected = 1 << 1 /* ESTABLISHED */ | 1 << 4 /* FIN_WAIT1 */ | 1 << 5 /* FIN_WAIT2 */ |
                                  1 << 8 /* CLOSE_WAIT */ | 1 << 9 /* LAST_ACK */ | 1 << 11 /* CLOSING */;

static int note(struct connections *all, const struct inet_diag_msg *found) {
    if (all->count == all->room) {
        int room = all->room ? all->room * 2 : 64;
        struct connection *items = realloc(all->items, (size_t)room * sizeof *items);
        if (!items) return -1;
        all->items = items;
        all->room = room;
    }
    all->items[all->count].family = found->idiag_family;
    all->items[all->count++].id = found->id;
    return 0;
}

static int ask(int fd, int type, int flags, uint8_t family, const struct inet_diag_sockid *id) {
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    } packet;
    memset(&packet, 0, sizeof packet);
    packet.header.nlmsg_len = sizeof packet;
    packet.header.nlmsg_type = (uint16_t)type;
    packet.header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    packet.request.sdiag_family = family;
    packet.request.sdiag_protocol = IPPROTO_TCP;
    packet.request.idiag_states = connected;
    if (id) packet.request.id = *id;
    return send(fd, &packet, sizeof packet, 0) < 0 ? -1 : 0;
}

// Returns 1 at the end of the list, 0 when there is more, -1 with errno.
static int take(char *bytes, ssize_t length, struct connections *all) {
    for (struct nlmsghdr *header = (struct nlmsghdr *)bytes; NLMSG_OK(header, length);
         header = NLMSG_NEXT(header, length)) {
        if (header->nlmsg_type == NLMSG_DONE) return 1;
        if (header->nlmsg_type == NLMSG_ERROR) {
            errno = -((struct nlmsgerr *)NLMSG_DATA(header))->error;
            return errno ? -1 : 1;
        }
        if (note(all, NLMSG_DATA(header))) return -1;
    }
    return 0;
}

static int list(int fd, uint8_t family, struct connections *all) {
    if (ask(fd, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, 0)) return -1;
    _Alignas(struct nlmsghdr) char bytes[32768];
    while (1) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        int end = take(bytes, n, all);
        if (end) return end < 0 ? -1 : 0;
    }
}

// IPv4 as IPv6 has it: a socket of either kind can be the other end.
static void widen(const struct connection *connection, const uint32_t *address, uint32_t wide[4]) {
    if (connection->family == AF_INET6) {
        memcpy(wide, address, 16);
        return;
    }
    wide[0] = wide[1] = 0;
    wide[2] = htonl(0xffff);
    wide[3] = address[0];
}

static int are_ends(const struct connection *a, const struct connection *b) {
    uint32_t from[4], to[4];
    if (a->id.idiag_sport != b->id.idiag_dport || a->id.idiag_dport != b->id.idiag_sport) return 0;
    widen(a, a->id.idiag_src, from);
    widen(b, b->id.idiag_dst, to);
    if (memcmp(from, to, sizeof from)) return 0;
    widen(a, a->id.idiag_dst, from);
    widen(b, b->id.idiag_src, to);
    return memcmp(from, to, sizeof from) == 0;
}

static int has_other_end(const struct connections *all, int index) {
    for (int i = 0; i < all->count; i++)
        if (are_ends(&all->items[index], &all->items[i])) return 1;
    return 0;
}

static int end_connection(int fd, const struct connection *connection) {
    if (ask(fd, SOCK_DESTROY, NLM_F_ACK, connection->family, &connection->id)) return -1;
    _Alignas(struct nlmsghdr) char bytes[4096];
    ssize_t n;
    do n = recv(fd, bytes, sizeof bytes, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -1;
    const struct nlmsghdr *header = (const struct nlmsghdr *)bytes;
    int code = header->nlmsg_type == NLMSG_ERROR ? -((const struct nlmsgerr *)NLMSG_DATA(header))->error : 0;
    errno = code;
    // It may have ended by itself meanwhile.
    return code && code != ENOENT ? -1 : 0;
}

static int close_outside(struct clinux_spawn_failure *failure) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0) {
        *failure = (struct clinux_spawn_failure){"socket(NETLINK_SOCK_DIAG)", errno};
        return -1;
    }
    struct connections all = {0};
    int ended = 0;
    if (list(fd, AF_INET, &all) || list(fd, AF_INET6, &all)) {
        *failure = (struct clinux_spawn_failure){"list the connections", errno};
        ended = -1;
    }
    for (int i = 0; ended >= 0 && i < all.count; i++) {
        if (has_other_end(&all, i)) continue;
        if (end_connection(fd, &all.items[i]) == 0) {
            ended++;
        } else {
            *failure = (struct clinux_spawn_failure){"end a connection (SOCK_DESTROY)", errno};
            ended = -1;
        }
    }
    free(all.items);
    close(fd);
    return ended;
}

int clinux_close_outside_connections(int netns_fd, int own_netns_fd, struct clinux_spawn_failure *failure) {
    if (setns(netns_fd, CLONE_NEWNET)) {
        *failure = (struct clinux_spawn_failure){"setns(net)", errno};
        return -1;
    }
    int ended = close_outside(failure);
    if (setns(own_netns_fd, CLONE_NEWNET)) {
        *failure = (struct clinux_spawn_failure){"setns(back)", errno};
        return -1;
    }
    return ended;
}
