#define _GNU_SOURCE
#include "criu_spawn.h"
#include "pager.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_userfault_open(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY); }

int clinux_userfault_agree(int userfault, int tells_events) {
    const uint64_t events = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
                            UFFD_FEATURE_EVENT_UNMAP;
    struct uffdio_api api = {.api = UFFD_API, .features = tells_events ? events : 0};
    return ioctl(userfault, UFFDIO_API, &api) ? errno : 0;
}

int clinux_userfault_cover(int userfault, uint64_t start, uint64_t end) {
    struct uffdio_register range = {.range = {start, end - start}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    return ioctl(userfault, UFFDIO_REGISTER, &range) ? errno : 0;
}

int clinux_userfault_leave(int userfault, uint64_t start, uint64_t end) {
    struct uffdio_range range = {start, end - start};
    return ioctl(userfault, UFFDIO_UNREGISTER, &range) ? errno : 0;
}

int clinux_userfault_put(int userfault, uint64_t address, const void *pages, uint64_t size) {
    struct uffdio_copy copy = {.dst = address, .src = (uintptr_t)pages, .len = size};
    while (ioctl(userfault, UFFDIO_COPY, &copy)) {
        if (errno != EAGAIN && errno != EINTR) return errno;
        if (copy.copy < 0) copy.copy = 0;
        copy.dst += (uint64_t)copy.copy;
        copy.src += (uint64_t)copy.copy;
        copy.len -= (uint64_t)copy.copy;
    }
    return 0;
}

pid_t clinux_pager_spawn(int socket, int *code) {
    char *const arguments[] = {"ckpt-pager", "__pager", NULL};
    char *const environment[] = {"LC_ALL=C", NULL};
    struct clinux_worker worker = {.path = "/proc/self/exe",
                                   .argv = arguments,
                                   .envp = environment,
                                   .kept = &socket,
                                   .kept_count = 1,
                                   .netns_fd = -1,
                                   .umask = 077};
    struct clinux_spawn_failure failure;
    pid_t pid = clinux_spawn_worker(&worker, &failure);
    *code = pid < 0 ? failure.code : 0;
    return pid;
}

int clinux_any_page_there(int pagemap, uint64_t start, uint64_t end) {
    // Documentation/admin-guide/mm/pagemap.rst: swapped, present.
    const uint64_t there = 1ULL << 62 | 1ULL << 63;
    enum { page = 4096, most = 4096 };
    uint64_t entries[most];
    while (start < end) {
        uint64_t count = (end - start) / page < most ? (end - start) / page : most;
        const off_t place = (off_t)(start / page * sizeof *entries);
        ssize_t got = pread(pagemap, entries, count * sizeof *entries, place);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            if (got == 0) errno = EIO;
            return -1;
        }
        count = (uint64_t)got / sizeof *entries;
        for (uint64_t i = 0; i < count; i++)
            if (entries[i] & there) return 1;
        start += count * page;
    }
    return 0;
}

int clinux_send_descriptors(int socket, const void *bytes, int length, const int *descriptors, int count) {
    if (count > clinux_most_descriptors) return E2BIG;
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(clinux_most_descriptors * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec vector = {(void *)bytes, (size_t)length};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, (size_t)count * sizeof(int));
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) return errno;
    return 0;
}

long clinux_receive_descriptors(int socket, void *bytes, unsigned long room, int *descriptors, int *count) {
    union {
        struct cmsghdr aligned;
        char bytes[CMSG_SPACE(clinux_most_descriptors * sizeof(int))];
    } control;
    struct iovec vector = {bytes, room};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;
    do got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    *count = 0;
    if (got <= 0) return got;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            *count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(descriptors, CMSG_DATA(header), (size_t)*count * sizeof(int));
        }
    if (!(message.msg_flags & MSG_CTRUNC)) return got;
    for (int i = 0; i < *count; i++) close(descriptors[i]);
    *count = 0;
    errno = EMFILE;
    return -1;
}
