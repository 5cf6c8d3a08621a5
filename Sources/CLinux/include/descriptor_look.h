// What a descriptor, and the memory, of a process that stands still are.
#ifndef CLINUX_DESCRIPTOR_LOOK_H
#define CLINUX_DESCRIPTOR_LOOK_H

#include <stdint.h>
#include <sys/types.h>

/// A descriptor of another process, asked of a duplicate of it (pidfd_getfd(2)).
struct clinux_descriptor {
    /// st_mode, st_size, st_nlink and st_rdev of stat(2).
    uint32_t mode;
    uint32_t links;
    int64_t size;
    uint64_t device;
    /// st_ctim.
    int64_t changed, changed_nanoseconds;
    /// Of fcntl(2): F_GETFL, F_GETOWN, F_GETSIG; of a pipe F_GETPIPE_SZ, else 0.
    int32_t flags, owner, signal, pipe_size;
    /// Of a pipe the bytes that wait in it (FIONREAD); of a listening socket 1 where somebody waits to be accepted.
    int32_t waiting;
    /// Of a socket: whether it listens (SO_ACCEPTCONN), SO_DOMAIN, SO_TYPE, and its own address, of so many bytes.
    int32_t listens, domain, type, name_length;
    char name[108];
};

/// Looks at descriptor `number` of the process behind `pidfd`; 0 or an errno.
int clinux_look_at_descriptor(int pidfd, int number, struct clinux_descriptor *found);

/// Of kcmp(2).
enum clinux_compared {
    CLINUX_SAME_FILE = 0,
    CLINUX_SAME_VM = 1,
    CLINUX_SAME_FILES = 2,
    CLINUX_SAME_FS = 3,
    CLINUX_SAME_SIGHAND = 4,
};

/// Compares a resource of two processes (kcmp(2)): 0 where it is the same one, 1 and 2 order them, -1 with errno set
/// where they cannot be compared. `first` and `second` are descriptors for CLINUX_SAME_FILE.
int clinux_compare(pid_t one, pid_t other, int resource, unsigned long first, unsigned long second);

/// Pages that follow one another, in bytes.
struct clinux_pages {
    uint64_t start, end;
    /// Whether they are guards (MADV_GUARD_INSTALL), which have no content.
    uint64_t are_guards;
};

/// Finds the pages of a process that no file has and that are not the zero page: `pagemap` is its /proc/PID/pagemap. At
/// most `limit` ranges from `*at` on, which becomes where to go on; how many, or a negative errno (PAGEMAP_SCAN, Linux
/// 6.7). There are no more when it becomes the end of user space.
long clinux_next_pages(int pagemap, uint64_t *at, struct clinux_pages *pages, unsigned long limit);

/// The end of user space, without five levels of page tables.
#define CLINUX_USER_SPACE 0x7ffffffff000ull

#endif
