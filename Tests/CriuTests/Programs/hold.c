// Holds one thing, named by its argument, writes "ready" to /ready and waits for ever.
// CRIU can dump the thing only where it says so.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// Puts `fd`, or the failure to get one, where the test looks for it: descriptor 9.
static void at_nine(const char *what, long fd) {
    if (fd < 0) err(1, "%s", what);
    if (dup2((int)fd, 9) < 0) err(1, "dup2");
    if (fd != 9) close((int)fd);
}

static void ring(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    at_nine("io_uring_setup", syscall(SYS_io_uring_setup, 4, &params));
}

// The rings of an io_uring stay mapped after its descriptor is closed.
static void ring_mapping(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
    if (fd < 0 || mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES) == MAP_FAILED)
        err(1, "io_uring");
    close(fd);
}

// A deleted file that is larger than what is saved of one.
static void ghost(void) {
    int fd = open("/ghost", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (1L << 30) + 4096) || unlink("/ghost")) err(1, "ghost");
    at_nine("ghost", fd);
}

static void perf(void) {
    struct perf_event_attr counter = {.type = PERF_TYPE_SOFTWARE, .size = sizeof counter,
                                      .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1};
    at_nine("perf_event_open", syscall(SYS_perf_event_open, &counter, 0, -1, -1, 0));
}

static void fault_handler(void) {
    at_nine("userfaultfd", syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */));
}

static void packet_pipe(void) {
    int ends[2];
    if (pipe2(ends, O_DIRECT)) err(1, "pipe2");
    if (write(ends[1], "packet", 6) != 6) err(1, "write");
    if (dup2(ends[0], 10) < 0 || close(ends[0])) err(1, "dup2");
    at_nine("pipe2", ends[1]);
}

static void mptcp(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8080)};
    int fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) || listen(fd, 8)) err(1, "mptcp");
    at_nine("mptcp", fd);
}

// A Unix connection from outside the sandbox, which the test makes.
static void outside(void) {
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/outside.sock"};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&local, sizeof local) || listen(listener, 8))
        err(1, "outside");
    at_nine("accept", accept(listener, 0, 0));
}

// Leaves a child that is in a namespace of its own.
static void nested(int flag) {
    if (unshare(flag)) err(1, "unshare");
    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child == 0)
        for (;;) pause();
}

// Leaves a child that is traced by this process and runs.
static void traced(void) {
    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child == 0)
        for (;;) pause();
    if (ptrace(PTRACE_SEIZE, child, 0, 0)) err(1, "ptrace");
}

// A file mapped shared and writable: CRIU can dump it.
static void mapping(void) {
    int fd = open("/mapped", O_RDWR | O_CREAT, 0666);
    if (fd < 0 || ftruncate(fd, 4096)) err(1, "/mapped");
    if (mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED) err(1, "mmap");
    close(fd);
}

// Another user: CRIU can dump it.
static void nobody(void) {
    int ready = open("/ready", O_WRONLY | O_CREAT, 0666);
    if (ready < 0 || fchmod(ready, 0666) || close(ready) || setgid(65534) || setuid(65534)) err(1, "nobody");
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "io_uring")) ring();
    else if (!strcmp(what, "ring_mapping")) ring_mapping();
    else if (!strcmp(what, "ghost")) ghost();
    else if (!strcmp(what, "perf_event")) perf();
    else if (!strcmp(what, "userfaultfd")) fault_handler();
    else if (!strcmp(what, "packet_pipe")) packet_pipe();
    else if (!strcmp(what, "mptcp")) mptcp();
    else if (!strcmp(what, "outside")) outside();
    else if (!strcmp(what, "pidns")) nested(CLONE_NEWPID);
    else if (!strcmp(what, "userns")) nested(CLONE_NEWUSER);
    else if (!strcmp(what, "ptrace")) traced();
    else if (!strcmp(what, "mapping")) mapping();
    else if (!strcmp(what, "nobody")) nobody();
    else if (*what) errx(2, "no such thing: %s", what);
    int fd = open("/ready", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, "ready\n", 6) != 6) err(1, "/ready");
    close(fd);
    for (;;) pause();
}
