// Starts a sandbox for tests: every namespace of its own, an overlay of the host's root, /proc, devpts and, if
// asked, a read-only sysfs; runs PROGRAM as its PID 1 and prints the PID the host knows it by.
//   sandbox DIR sysfs|nosysfs cgroupns|nocgroupns PROGRAM ARG…   (PROGRAM is a path inside the sandbox)
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char *dir;
static char path[4096];

static char *in(const char *tail) {
    snprintf(path, sizeof path, "%s/%s", dir, tail);
    return path;
}

static void node(const char *name, int major, int minor) {
    if (mknod(in(name), S_IFCHR | 0666, makedev(major, minor)) && errno != EEXIST) err(1, "mknod %s", name);
    chmod(path, 0666);
}

static void put(pid_t pid, const char *file, const char *text) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", pid, file);
    int fd = open(name, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) err(1, "%s", name);
    close(fd);
}

static void loopback(void) {
    struct ifreq lo = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (ioctl(fd, SIOCGIFFLAGS, &lo)) err(1, "SIOCGIFFLAGS");
    lo.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &lo)) err(1, "SIOCSIFFLAGS");
    close(fd);
}

static void inside(int go, int sysfs, char **argv) {
    char byte;
    if (read(go, &byte, 1) != 1) _exit(1);
    if (setgid(0) || setuid(0)) err(1, "setuid");
    if (unshare(CLONE_NEWCGROUP)) err(1, "cgroup namespace");
    loopback();
    sethostname("box", 3);
    if (mount(0, "/", 0, MS_REC | MS_PRIVATE, 0)) err(1, "private");
    in("merged");
    if (mount(path, path, 0, MS_BIND, 0) || chdir(path)) err(1, "bind");
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
    dir = argv[1];
    int sysfs = !strcmp(argv[2], "sysfs");
    const char *parts[] = {"", "dev", "dev/dev", "dev/dev/pts", "dev/dev/shm", "dev/sys", "dev/proc", "dev/root", "dev/tmp", "dev/run", "upper", "work", "merged"};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) mkdir(in(parts[i]), 0755);
    chmod(in("dev/tmp"), 01777);
    node("dev/dev/null", 1, 3), node("dev/dev/zero", 1, 5), node("dev/dev/full", 1, 7);
    node("dev/dev/random", 1, 8), node("dev/dev/urandom", 1, 9), node("dev/dev/tty", 5, 0);
    if (symlink("pts/ptmx", in("dev/dev/ptmx")) && errno != EEXIST) err(1, "ptmx");
    if (symlink(".", in("dev/usr")) && errno != EEXIST) err(1, "usr");
    char options[8192];
    snprintf(options, sizeof options, "lowerdir=%s/dev:/usr,upperdir=%s/upper,workdir=%s/work", dir, dir, dir);
    if (mount("overlay", in("merged"), "overlay", 0, options)) err(1, "overlay %s", options);
    int go[2];
    if (pipe2(go, O_CLOEXEC)) err(1, "pipe");
    struct clone_args how = {.flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                      CLONE_NEWNET | CLONE_NEWTIME, .exit_signal = SIGCHLD};
    pid_t pid = syscall(SYS_clone3, &how, sizeof how);
    if (pid < 0) err(1, "clone3");
    if (pid == 0) inside(go[0], sysfs, argv + 3);
    put(pid, "uid_map", "0 0 65536");
    put(pid, "gid_map", "0 0 65536");
    if (write(go[1], "x", 1) != 1) err(1, "go");
    printf("%d\n", pid);
    return 0;
}
