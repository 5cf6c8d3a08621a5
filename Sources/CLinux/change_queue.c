#define _GNU_SOURCE
#include "clinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_change_queue(void) {
    // Without file handles instead of descriptors the kernel tells of no change of metadata (fanotify_mark(2)).
    return fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC);
}

int clinux_hear_changes(int queue, int root, const char *path) {
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int directory = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    if (directory < 0) return -1;
    uint64_t changes = FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM |
                       FAN_MOVED_TO | FAN_ONDIR | FAN_EVENT_ON_CHILD;
    int result = fanotify_mark(queue, FAN_MARK_ADD, changes, directory, NULL);
    int code = errno;
    close(directory);
    errno = code;
    return result;
}

/// AT_HANDLE_FID of linux/fcntl.h: a handle to compare, which need not be one to open (since Linux 6.5).
enum { handle_to_compare = 0x200 };

struct handle {
    struct file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
};

int clinux_is_overlay_of(int merged, int upper) {
    // The handle of an overlay's root ends in that of its upper directory (fs/overlayfs/export.c, ovl_encode_real_fh).
    struct handle of_merged = {.head.handle_bytes = MAX_HANDLE_SZ}, of_upper = of_merged;
    int mount;
    if (name_to_handle_at(merged, "", &of_merged.head, &mount, AT_EMPTY_PATH | handle_to_compare) != 0 ||
        name_to_handle_at(upper, "", &of_upper.head, &mount, AT_EMPTY_PATH) != 0)
        return 0;
    unsigned length = of_upper.head.handle_bytes;
    // Three bytes of padding and struct ovl_fb: version, magic, length, flags, type, and the filesystem's UUID.
    enum { header = 3 + 21 };
    return of_merged.head.handle_bytes == header + length &&
           memcmp(of_merged.head.f_handle + header, of_upper.head.f_handle, length) == 0;
}
