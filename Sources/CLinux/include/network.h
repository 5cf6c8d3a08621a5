// Sets up a network namespace from outside: devices, addresses, sysctls, the wall around ports.
#ifndef CLINUX_NETWORK_H
#define CLINUX_NETWORK_H

#include <stdint.h>

#include "sandbox_spawn.h"

/// A range of ports, both ends included.
struct clinux_ports {
    uint16_t first;
    uint16_t last;
};

/// An address of the device that leads out.
struct clinux_address {
    /// AF_INET or AF_INET6, and the address in network order.
    int family;
    uint8_t bytes[16];
    int prefix;
    /// The way to everywhere else; no route is made where `routed` is 0.
    uint8_t gateway[16];
    int routed;
};

/// What a network namespace is to have besides loopback.
struct clinux_network {
    /// Sysctls below /proc/sys, path and value in turn; one that the kernel does not have is passed over.
    const char *const *sysctls;
    int sysctl_count;
    /// The name of a TAP device to make, persistent, for a process outside to take up; null for none.
    const char *device;
    uint8_t mac[6];
    uint32_t mtu;
    const struct clinux_address *addresses;
    int address_count;
    /// The only ports that TCP connections and datagrams may go to; -1 for any.
    const struct clinux_ports *ports;
    int port_count;
};

/// Has the calling thread enter a new network namespace with loopback whose own new namespaces get tables of so many
/// buckets for TCP connections and UDP sockets (ip-sysctl, tcp_child_ehash_entries, udp_child_hash_entries; Linux 6.1
/// and 6.4) in place of the machine's. Returns a descriptor of it, or -1 with `failure` set.
int clinux_enter_nursery(const char *tcp_buckets, const char *udp_buckets, struct clinux_spawn_failure *failure);

/// Sets a network namespace up, from a thread that enters it for the while. Returns 0, or -1 with `failure` set.
int clinux_prepare_network(int netns_fd, int own_netns_fd, const struct clinux_network *network,
                           struct clinux_spawn_failure *failure);

/// Ends each TCP connection of a network namespace whose other end is not in the same namespace; its owner reads
/// ECONNABORTED (sock_diag(7), SOCK_DESTROY). Returns how many, or -1 with `failure` set.
int clinux_close_outside_connections(int netns_fd, int own_netns_fd, struct clinux_spawn_failure *failure);

#endif
