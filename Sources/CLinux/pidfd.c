#define _GNU_SOURCE
#include "clinux.h"

#include <linux/magic.h>
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pidfd_getfd(int pidfd, int fd) { return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0); }

int clinux_pidfd_send_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0);
}

long clinux_filesystem_type(const char *path) {
    struct statfs status;
    return statfs(path, &status) ? -1 : (long)status.f_type;
}

int clinux_dates_changes(int file) {
    struct statfs status;
    if (fstatfs(file, &status)) return 0;
    switch ((unsigned long)status.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case TMPFS_MAGIC:
    case F2FS_SUPER_MAGIC:
    case 0xca451a4eUL:  // bcachefs; not in every <linux/magic.h>
        return 1;
    default: return 0;
    }
}

int clinux_is_kernel_view(int file) {
    struct statfs status;
    if (fstatfs(file, &status)) return 0;
    switch ((unsigned long)status.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case BPF_FS_MAGIC:
    case EFIVARFS_MAGIC:
    case PSTOREFS_MAGIC:
    case BINFMTFS_MAGIC:
    case NSFS_MAGIC:
    case DEVPTS_SUPER_MAGIC:
    case SELINUX_MAGIC:
    case SMACK_MAGIC:
    case 0x62656570:  // CONFIGFS_MAGIC (fs/configfs/mount.c)
    case 0x65735543:  // FUSE_CTL_SUPER_MAGIC (fs/fuse/control.c)
    case 0x19800202:  // MQUEUE_MAGIC (ipc/mqueue.c)
        return 1;
    default:
        return 0;
    }
}

int clinux_set_xattr(const char *path, const char *name, const char *value) {
    return lsetxattr(path, name, value, strlen(value), 0);
}

int clinux_unshare_mounts(void) { return unshare(CLONE_NEWNS); }

long clinux_page_out(int pidfd, const uint64_t *ranges, int count) {
    struct iovec vectors[256];
    if (count > (int)(sizeof vectors / sizeof vectors[0])) {
        errno = EINVAL;
        return -1;
    }
    for (int i = 0; i < count; i++) {
        vectors[i].iov_base = (void *)(uintptr_t)ranges[2 * i];
        vectors[i].iov_len = (size_t)ranges[2 * i + 1];
    }
    return syscall(SYS_process_madvise, pidfd, vectors, (size_t)count, MADV_PAGEOUT, 0);
}

int clinux_unshare_directory(void) { return unshare(CLONE_FS); }
