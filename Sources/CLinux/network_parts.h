// The parts that network.c is made of; all work in the calling thread's network namespace.
#ifndef CLINUX_NETWORK_PARTS_H
#define CLINUX_NETWORK_PARTS_H

#include "network.h"

int clinux_network_fail(struct clinux_spawn_failure *failure, const char *step, int code);
int clinux_make_tap(const struct clinux_network *network, struct clinux_spawn_failure *failure);
int clinux_wall_ports(const struct clinux_ports *ports, int count, struct clinux_spawn_failure *failure);

#endif
