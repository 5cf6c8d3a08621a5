#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>

int clinux_loop_shows(int loop, uint64_t device, uint64_t inode) {
    struct loop_info64 info;
    return ioctl(loop, LOOP_GET_STATUS64, &info) == 0 && info.lo_device == device && info.lo_inode == inode;
}

int clinux_free_loop(int control) { return ioctl(control, LOOP_CTL_GET_FREE); }

int clinux_attach_loop(int loop, int file) {
    // Direct: what is cached above need not be cached below as well.
    struct loop_config config = {
        .fd = (unsigned)file,
        .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
    };
    return ioctl(loop, LOOP_CONFIGURE, &config);
}

int clinux_resize_loop(int loop) { return ioctl(loop, LOOP_SET_CAPACITY, 0); }

/// struct xfs_growfs_data of xfs/xfs_fs.h, which belongs to another package than the kernel's headers.
struct grow_xfs {
    uint64_t blocks;
    /// How much of it inodes may take, in percent: mkfs.xfs's own choice below 1 TiB.
    uint32_t inodes;
};
_Static_assert(sizeof(struct grow_xfs) == 16, "as the kernel has it");

int clinux_grow_xfs(int directory, uint64_t bytes, uint64_t block) {
    struct grow_xfs grow = {.blocks = bytes / block, .inodes = 25};
    return ioctl(directory, _IOW('X', 110, struct grow_xfs), &grow);
}

/// struct btrfs_ioctl_vol_args of linux/btrfs.h.
struct grow_btrfs {
    int64_t descriptor;
    char name[4088];
};

int clinux_grow_btrfs(int directory) {
    struct grow_btrfs grow = {.name = "max"};
    return ioctl(directory, _IOW(0x94, 3, struct grow_btrfs), &grow) < 0 ? -1 : 0;
}
