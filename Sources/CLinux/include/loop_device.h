// Loop devices (loop(4)), and growing the filesystems on them.
#ifndef CLINUX_LOOP_DEVICE_H
#define CLINUX_LOOP_DEVICE_H

#include <stdint.h>

/// Whether an open loop device shows the file of this device and inode number.
int clinux_loop_shows(int loop, uint64_t device, uint64_t inode);

/// The number of a loop device that is free, or -1.
int clinux_free_loop(int control);

/// Has a free loop device show an open file, until the last user of the device is gone. 0, or -1: EBUSY where somebody
/// else was quicker.
int clinux_attach_loop(int loop, int file);

/// Has the device notice that its file has another size. 0, or -1.
int clinux_resize_loop(int loop);

/// Grows the mounted XFS that an open directory lies on to `bytes`. 0, or -1.
int clinux_grow_xfs(int directory, uint64_t bytes, uint64_t block);

/// Grows the mounted btrfs that an open directory lies on to its device. 0, or -1.
int clinux_grow_btrfs(int directory);

#endif
