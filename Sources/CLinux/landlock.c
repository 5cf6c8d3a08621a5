#define _GNU_SOURCE
#include "clinux.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { ask_version = 1 };  // LANDLOCK_CREATE_RULESET_VERSION

int clinux_landlock_version(void) { return (int)syscall(SYS_landlock_create_ruleset, 0, 0, ask_version); }
