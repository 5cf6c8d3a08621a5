// Starts a sandbox for the tests: every namespace of its own with the host's ids, ROOT (a mounted overlay) as
// the root directory, /proc, devpts and, if asked, a read-only sysfs. Runs PROGRAM (a path inside) as PID 1
// and prints the pid the host knows it by.
//   sandbox ROOT sysfs|plain PROGRAM ARG…
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void put(pid_t pid, const char *file, const char *text) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", pid, file);
    int fd = open(name, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) err(1, "%s", name);
    close(fd);
}

static void loopback_up(void) {
    struct ifreq lo = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo)) err(1, "lo");
    lo.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &lo)) err(1, "lo up");
    close(fd);
}

static void inside(int go, const char *root, int sysfs, char **argv) {
    char byte;
    if (read(go, &byte, 1) != 1) _exit(1);
    if (setgid(0) || setuid(0)) err(1, "setuid");
    loopback_up();
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) err(1, "private");
    if (mount(root, root, 0, MS_BIND, 0) || chdir(root)) err(1, "bind");
    if (mount("proc", "proc", "proc", 0, 0)) err(1, "proc");
    if (mount("devpts", "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620")) err(1, "devpts");
    if (sysfs && mount("sysfs", "sys", "sysfs", MS_RDONLY, 0)) err(1, "sysfs");
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) err(1, "pivot_root");
    close_range(3, ~0U, 0);
    char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", 0};
    execve(argv[0], argv, environment);
    err(127, "%s", argv[0]);
}

int main(int argc, char **argv) {
    if (argc < 4) errx(2, "usage: sandbox ROOT sysfs|plain PROGRAM ARG…");
    int go[2];
    if (pipe2(go, O_CLOEXEC)) err(1, "pipe");
    struct clone_args how = {
        .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET |
                 CLONE_NEWTIME | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    pid_t pid = syscall(SYS_clone3, &how, sizeof how);
    if (pid < 0) err(1, "clone3");
    if (pid == 0) inside(go[0], argv[1], !strcmp(argv[2], "sysfs"), argv + 3);
    put(pid, "uid_map", "0 0 4294967295");
    put(pid, "gid_map", "0 0 4294967295");
    if (write(go[1], "x", 1) != 1) err(1, "go");
    printf("%d\n", pid);
    return 0;
}
