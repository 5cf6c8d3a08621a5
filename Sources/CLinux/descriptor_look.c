#define _GNU_SOURCE
#include "descriptor_look.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static int option(int socket, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(socket, SOL_SOCKET, name, &value, &size) ? -1 : value;
}

static void look_at_socket(int copy, struct clinux_descriptor *found) {
    found->listens = option(copy, SO_ACCEPTCONN);
    found->domain = option(copy, SO_DOMAIN);
    found->type = option(copy, SO_TYPE);
    struct pollfd poller = {.fd = copy, .events = POLLIN};
    found->waiting = poll(&poller, 1, 0) != 0;
    struct sockaddr_un address = {0};
    socklen_t size = sizeof address;
    if (found->domain != AF_UNIX || getsockname(copy, (struct sockaddr *)&address, &size)) return;
    if (size <= offsetof(struct sockaddr_un, sun_path)) return;
    size -= offsetof(struct sockaddr_un, sun_path);
    found->name_length = (int32_t)(size < sizeof found->name ? size : sizeof found->name);
    memcpy(found->name, address.sun_path, (size_t)found->name_length);
}

static int look(int copy, struct clinux_descriptor *found) {
    struct stat status;
    if (fstat(copy, &status)) return errno;
    found->mode = status.st_mode;
    found->links = (uint32_t)status.st_nlink;
    found->size = status.st_size;
    found->device = status.st_rdev;
    found->changed = status.st_ctim.tv_sec;
    found->changed_nanoseconds = status.st_ctim.tv_nsec;
    found->flags = fcntl(copy, F_GETFL);
    // Of an O_PATH descriptor these cannot be asked.
    if (found->flags < 0 || found->flags & O_PATH) return EBADF;
    found->owner = fcntl(copy, F_GETOWN);
    found->signal = fcntl(copy, F_GETSIG);
    if (S_ISFIFO(status.st_mode)) {
        found->pipe_size = fcntl(copy, F_GETPIPE_SZ);
        if (ioctl(copy, FIONREAD, &found->waiting)) return errno;
    }
    if (S_ISSOCK(status.st_mode)) look_at_socket(copy, found);
    return 0;
}

int clinux_look_at_descriptor(int pidfd, int number, struct clinux_descriptor *found) {
    memset(found, 0, sizeof *found);
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    if (copy < 0) return errno;
    int code = look(copy, found);
    close(copy);
    return code;
}

int clinux_compare(pid_t one, pid_t other, int resource, unsigned long first, unsigned long second) {
    return (int)syscall(SYS_kcmp, one, other, resource, first, second);
}

// <linux/fs.h> of Linux 6.7; older headers have none of it.
struct page_region {
    uint64_t start, end, categories;
};
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages, inverted, all_of, any_of, returned;
};
static const unsigned long PAGEMAP_SCAN = _IOWR('f', 16, struct scan);
enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_ZERO = 1 << 5, IS_GUARD = 1 << 8 };

long clinux_next_pages(int pagemap, uint64_t *at, struct clinux_pages *pages, unsigned long limit) {
    _Static_assert(sizeof(struct clinux_pages) == sizeof(struct page_region), "the same form");
    struct scan scan = {
        .size = sizeof scan,
        .start = *at,
        .end = CLINUX_USER_SPACE,
        .regions = (uint64_t)(uintptr_t)pages,
        .region_count = limit,
        .inverted = IS_FILE | IS_ZERO,
        .all_of = IS_FILE | IS_ZERO,
        .any_of = IS_PRESENT | IS_SWAPPED,
        .returned = IS_GUARD,
    };
    long count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    if (count < 0 && errno == EINVAL) {
        // Before Linux 6.15 there is no such category.
        scan.returned = 0;
        count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
    }
    if (count < 0) return -errno;
    *at = scan.walk_end;
    for (long i = 0; i < count; i++) pages[i].are_guards &= IS_GUARD;
    return count;
}
