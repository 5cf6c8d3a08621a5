#define _GNU_SOURCE
#include "network_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

static int address_size(int family) { return family == AF_INET ? 4 : 16; }

// A TAP device belongs to the namespace of the thread that opens /dev/net/tun (drivers/net/tun.c, tun_chr_open).
static int make_device(const char *name, struct clinux_spawn_failure *failure) {
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) return clinux_network_fail(failure, "open /dev/net/tun", errno);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    int result = 0;
    if (ioctl(fd, TUNSETIFF, &request)) result = clinux_network_fail(failure, "ioctl(TUNSETIFF)", errno);
    else if (ioctl(fd, TUNSETPERSIST, 1)) result = clinux_network_fail(failure, "ioctl(TUNSETPERSIST)", errno);
    close(fd);
    return result;
}

static int finish(struct nl_sock *socket, struct nl_msg *message, const char *step,
                  struct clinux_spawn_failure *failure) {
    int status = nl_send_sync(socket, message);  // frees the message
    return status < 0 ? clinux_network_fail(failure, step, EIO) : 0;
}

static int bring_up(struct nl_sock *socket, unsigned index, const struct clinux_network *network,
                    struct clinux_spawn_failure *failure) {
    struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWLINK, NLM_F_REQUEST);
    if (!message) return clinux_network_fail(failure, "nlmsg_alloc", ENOMEM);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, IFLA_ADDRESS, sizeof network->mac, network->mac);
    nla_put_u32(message, IFLA_MTU, network->mtu);
    return finish(socket, message, "bring the network device up", failure);
}

static int add_address(struct nl_sock *socket, unsigned index, const struct clinux_address *address,
                       struct clinux_spawn_failure *failure) {
    struct ifaddrmsg head = {
        .ifa_family = (unsigned char)address->family, .ifa_prefixlen = (unsigned char)address->prefix,
        // Without it an IPv6 address is of no use for a second: sockets of a restored process bind to it at once.
        .ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0, .ifa_scope = RT_SCOPE_UNIVERSE,
        .ifa_index = index};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
    if (!message) return clinux_network_fail(failure, "nlmsg_alloc", ENOMEM);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, IFA_LOCAL, address_size(address->family), address->bytes);
    nla_put(message, IFA_ADDRESS, address_size(address->family), address->bytes);
    return finish(socket, message, "give the network device its address", failure);
}

static int add_route(struct nl_sock *socket, unsigned index, const struct clinux_address *address,
                     struct clinux_spawn_failure *failure) {
    struct rtmsg head = {.rtm_family = (unsigned char)address->family, .rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = RTPROT_BOOT, .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
    struct nl_msg *message = nlmsg_alloc_simple(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE);
    if (!message) return clinux_network_fail(failure, "nlmsg_alloc", ENOMEM);
    nlmsg_append(message, &head, sizeof head, NLMSG_ALIGNTO);
    nla_put(message, RTA_GATEWAY, address_size(address->family), address->gateway);
    nla_put_u32(message, RTA_OIF, index);
    return finish(socket, message, "make the way out", failure);
}

static int configure(struct nl_sock *socket, const struct clinux_network *network,
                     struct clinux_spawn_failure *failure) {
    if (nl_connect(socket, NETLINK_ROUTE)) return clinux_network_fail(failure, "nl_connect", EIO);
    unsigned index = if_nametoindex(network->device);
    if (!index) return clinux_network_fail(failure, "if_nametoindex", errno);
    if (bring_up(socket, index, network, failure)) return -1;
    for (int i = 0; i < network->address_count; i++) {
        const struct clinux_address *address = &network->addresses[i];
        if (add_address(socket, index, address, failure)) return -1;
        if (address->routed && add_route(socket, index, address, failure)) return -1;
    }
    return 0;
}

int clinux_make_tap(const struct clinux_network *network, struct clinux_spawn_failure *failure) {
    if (make_device(network->device, failure)) return -1;
    struct nl_sock *socket = nl_socket_alloc();
    if (!socket) return clinux_network_fail(failure, "nl_socket_alloc", ENOMEM);
    int result = configure(socket, network, failure);
    nl_socket_free(socket);
    return result;
}
