#define _GNU_SOURCE
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALL(call, subject, ...) {SYS_##call, #call, subject, {__VA_ARGS__}}

static const struct call calls[] = {
    CALL(open, on_open, EMFILE, ENOSPC, EIO),
    CALL(openat, on_open_at, EMFILE, ENOSPC, EIO),
    CALL(openat2, on_open_at, EMFILE, ENOSPC, EIO),
    CALL(creat, on_path, EMFILE, ENOSPC, EIO),
    CALL(mkdir, on_path, ENOSPC, EIO),
    CALL(mkdirat, on_path_at, ENOSPC, EIO),
    CALL(mknod, on_path, ENOSPC, EIO),
    CALL(mknodat, on_path_at, ENOSPC, EIO),
    CALL(symlink, on_path, ENOSPC, EIO),
    CALL(symlinkat, on_path, ENOSPC, EIO),
    CALL(link, on_path, ENOSPC, EIO),
    CALL(linkat, on_path_at, ENOSPC, EIO),
    CALL(rename, on_path, EIO, ENOSPC),
    CALL(renameat, on_path_at, EIO, ENOSPC),
    CALL(renameat2, on_path_at, EIO, ENOSPC),
    CALL(unlink, on_path, EIO),
    CALL(unlinkat, on_path_at, EIO),
    CALL(rmdir, on_path, EIO),
    CALL(chmod, on_path, EIO),
    CALL(fchmod, on_descriptor, EIO),
    CALL(fchmodat, on_path_at, EIO),
    CALL(chown, on_path, EIO),
    CALL(lchown, on_path, EIO),
    CALL(fchown, on_descriptor, EIO),
    CALL(fchownat, on_path_at, EIO),
    CALL(utimensat, on_path_at, EIO),
    CALL(setxattr, on_path, ENOSPC, EIO),
    CALL(lsetxattr, on_path, ENOSPC, EIO),
    CALL(fsetxattr, on_descriptor, ENOSPC, EIO),
    CALL(write, on_descriptor, ENOSPC, EIO, EINTR),
    CALL(pwrite64, on_descriptor, ENOSPC, EIO, EINTR),
    CALL(writev, on_descriptor, ENOSPC, EIO, EINTR),
    CALL(pwritev, on_descriptor, ENOSPC, EIO, EINTR),
    CALL(sendfile, on_descriptor, ENOSPC, EIO),
    CALL(splice, on_descriptor, ENOSPC, EIO),
    CALL(copy_file_range, on_descriptor, ENOSPC, EIO, EINTR),
    CALL(ftruncate, on_descriptor, ENOSPC, EIO),
    CALL(fallocate, on_descriptor, ENOSPC, EIO),
    CALL(ioctl, on_descriptor, EIO, ENOSPC),
    CALL(fsync, on_descriptor, EIO, ENOSPC),
    CALL(fdatasync, on_descriptor, EIO, ENOSPC),
    CALL(syncfs, on_descriptor, EIO, ENOSPC),
    CALL(flock, on_descriptor, ENOMEM),
    CALL(mount, on_path, ENOMEM),
    CALL(umount2, on_path, EBUSY),
    CALL(fsopen, on_nothing, ENOMEM, EMFILE),
    CALL(fsconfig, on_descriptor, ENOMEM),
    CALL(fsmount, on_descriptor, ENOMEM, EMFILE),
    CALL(open_tree, on_path_at, ENOMEM, EMFILE),
    CALL(move_mount, on_descriptor, ENOMEM),
    CALL(mount_setattr, on_path_at, ENOMEM),
    CALL(pivot_root, on_path, EBUSY),
    CALL(clone, on_clone, EAGAIN, ENOMEM),
    CALL(clone3, on_clone, EAGAIN, ENOMEM),
    CALL(fork, on_nothing, EAGAIN, ENOMEM),
    CALL(vfork, on_nothing, EAGAIN, ENOMEM),
    CALL(execve, on_path, ENOMEM, EIO),
    CALL(unshare, on_nothing, ENOMEM, ENOSPC),
    CALL(setns, on_descriptor, ENOMEM),
    CALL(socket, on_nothing, EMFILE, ENOMEM),
    CALL(socketpair, on_nothing, EMFILE, ENOMEM),
    CALL(connect, on_descriptor, ECONNREFUSED, EINTR),
    CALL(bind, on_descriptor, ENOMEM),
    CALL(sendto, on_descriptor, EPIPE, ENOMEM, EINTR),
    CALL(sendmsg, on_descriptor, EPIPE, ENOMEM, EINTR),
    CALL(recvfrom, on_descriptor, ECONNRESET, EINTR),
    CALL(recvmsg, on_descriptor, ECONNRESET, EINTR),
    CALL(pipe2, on_nothing, EMFILE, ENFILE),
    CALL(dup, on_descriptor, EMFILE),
    CALL(memfd_create, on_nothing, EMFILE, ENOMEM),
    CALL(eventfd2, on_nothing, EMFILE, ENOMEM),
    CALL(epoll_create1, on_nothing, EMFILE, ENOMEM),
    CALL(inotify_init1, on_nothing, EMFILE),
    CALL(inotify_add_watch, on_descriptor, ENOSPC, ENOMEM),
    CALL(pidfd_open, on_nothing, EMFILE, ENOMEM),
    CALL(pidfd_getfd, on_descriptor, EMFILE),
    CALL(ptrace, on_ptrace, ESRCH, EIO),
    CALL(process_vm_writev, on_nothing, ESRCH, EFAULT),
    CALL(mmap, on_map, ENOMEM),
};

int is_traced(pid_t tid) {
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int tracer = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "TracerPid: %d", &tracer) == 1) break;
    fclose(file);
    return tracer != 0;
}

// A path in the task's memory.
static void read_path(pid_t tid, unsigned long address, char *path, size_t size) {
    struct iovec ours = {path, size - 1}, theirs = {(void *)address, size - 1};
    // What lies behind may not be mapped.
    unsigned long left = 4096 - address % 4096;
    ssize_t got = process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
    if (got < 0 && left < size - 1) {
        theirs.iov_len = left;
        got = process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
    }
    path[got > 0 ? got : 0] = 0;
    for (char *at = path; *at; at++)
        if (*at == '\n' || *at == ' ') *at = '_';
}

static void read_link(pid_t tid, int descriptor, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, descriptor);
    ssize_t length = readlink(link, path, size - 1);
    path[length > 0 ? length : 0] = 0;
    for (char *at = path; *at; at++)
        if (*at == ' ') *at = '_';
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

// The log of the server is not its state, and a pipe or an event counter cannot be full for it.
static int is_of_interest(const char *target) {
    return strncmp(target, "pipe:", 5) && strncmp(target, "anon_inode:[event", 17) && strncmp(target, "/dev/", 5) &&
           !ends_with(target, "server.log");
}

int counts_reading;

// What is opened to be read changes nothing but the number of descriptors, and the kernel's views are many.
static int is_open_a_step(const char *path, unsigned long flags) {
    if (flags & (O_CREAT | O_WRONLY | O_RDWR)) return strncmp(path, "/dev/", 5) && !ends_with(path, "server.log");
    return counts_reading && strncmp(path, "/proc", 5) && strncmp(path, "/sys", 4) &&
           strncmp(path, "/usr/share", 10);
}

static const struct call *descriptor_step(
    pid_t tid, const struct call *call, const __uint64_t *args, char *detail, size_t size
) {
    read_link(tid, (int)(call->number == SYS_copy_file_range ? args[2] : args[0]), detail, size);
    if (call->number == SYS_ioctl) return args[1] == 0x40049409 /* FICLONE */ ? call : NULL;
    if (call->number == SYS_recvfrom || call->number == SYS_recvmsg)
        if (!counts_reading || strncmp(detail, "socket:", 7)) return NULL;
    return is_of_interest(detail) ? call : NULL;
}

static const struct call *matching(
    pid_t tid, const struct call *call, const __uint64_t *args, char *detail, size_t size
) {
    unsigned long flags = 0;
    switch (call->subject) {
    case on_nothing: return call;
    case on_path: read_path(tid, args[0], detail, size); return call;
    case on_path_at: read_path(tid, args[1], detail, size); return call;
    case on_descriptor: return descriptor_step(tid, call, args, detail, size);
    case on_open:
        read_path(tid, args[0], detail, size);
        return is_open_a_step(detail, args[1]) ? call : NULL;
    case on_open_at:
        read_path(tid, args[1], detail, size);
        flags = call->number == SYS_openat ? args[2] : (unsigned long)ptrace(PTRACE_PEEKDATA, tid, args[2], 0L);
        return is_open_a_step(detail, flags) ? call : NULL;
    case on_clone: return call;
    case on_ptrace: snprintf(detail, size, "%#llx", (unsigned long long)args[0]); return call;
    case on_map: return (int)args[4] >= 0 && !(args[3] & MAP_ANONYMOUS) ? call : NULL;
    }
    return NULL;
}

const struct call *step_of(pid_t tid, const struct __ptrace_syscall_info *info, char *detail, size_t size) {
    detail[0] = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == (int)info->entry.nr) return matching(tid, &calls[i], info->entry.args, detail, size);
    return NULL;
}

int errno_of(const struct call *call, int variant) {
    int count = 0;
    while (count < 4 && call->errors[count]) count++;
    return call->errors[variant % count];
}
