/* The floor under ckpt's numbers: the least a sandbox can cost here, in plain C with nothing around it.
 *
 * Usage: floor RUNS DIR [LOWER]. For each run: a child in new pid, mnt, uts, ipc and net namespaces mounts an
 * overlay over LOWER (default /) with its writable layer in DIR, pivots into it and executes bash; we wait for
 * bash's first answer, send it builtins and /bin/echo, and kill it. Prints every sample in milliseconds as JSON. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STATUS_FD = 9, COMMANDS_PER_RUN = 20, MAXIMUM_RUNS = 1000 };

struct samples {
    const char *name;
    int count;
    double milliseconds[MAXIMUM_RUNS * COMMANDS_PER_RUN];
};

static struct samples created = {.name = "create"}, builtin = {.name = "builtin"},
                      echoed = {.name = "echo"}, killed = {.name = "kill"};

struct sandbox {
    pid_t pid;
    int input[2], output[2], status[2];
    char merged[512], options[2048];
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static void add(struct samples *samples, double since)
{
    samples->milliseconds[samples->count++] = now() - since;
}

static void must(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        _exit(1);
    }
}

/* Runs as PID 1 of the new namespaces. */
static int enter_sandbox(void *argument)
{
    struct sandbox *box = argument;
    char *arguments[] = {"bash", "--norc", "--noprofile", NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", "HOME=/root", NULL};

    dup2(box->input[0], STDIN_FILENO);
    dup2(box->output[1], STDOUT_FILENO);
    dup2(box->output[1], STDERR_FILENO);
    dup2(box->status[1], STATUS_FD);
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
    must(mount("overlay", box->merged, "overlay", 0, box->options), "mount overlay");
    must(chdir(box->merged), "enter the overlay");
    must(mount("proc", "proc", "proc", 0, NULL), "mount /proc");
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "detach the old root");
    must(chdir("/"), "chdir");
    syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0);
    execve("/bin/bash", arguments, environment);
    must(-1, "execute bash");
    return 1;
}

/* Sends shell text that ends by writing to STATUS_FD, and waits for that. */
static void ask(struct sandbox *box, const char *text)
{
    char answer[64];
    must(write(box->input[1], text, strlen(text)), "write to bash");
    if (read(box->status[0], answer, sizeof answer) <= 0) {
        fprintf(stderr, "floor: bash does not answer\n");
        exit(1);
    }
}

static void make_directory(char *path, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path, size, format, arguments);
    va_end(arguments);
    must(mkdir(path, 0755), path);
}

static void start(struct sandbox *box, int run, const char *directory, const char *lower)
{
    static char stack[1 << 16] __attribute__((aligned(16)));
    char top[512], upper[768], work[768];
    int namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;

    make_directory(top, sizeof top, "%.400s/%d", directory, run);
    make_directory(upper, sizeof upper, "%s/upper", top);
    make_directory(work, sizeof work, "%s/work", top);
    make_directory(box->merged, sizeof box->merged, "%.480s/merged", top);
    snprintf(box->options, sizeof box->options, "lowerdir=%.400s,upperdir=%s,workdir=%s", lower, upper, work);
    must(pipe2(box->input, O_CLOEXEC), "pipe");
    must(pipe2(box->output, O_CLOEXEC), "pipe");
    must(pipe2(box->status, O_CLOEXEC), "pipe");
    box->pid = clone(enter_sandbox, stack + sizeof stack, namespaces | SIGCHLD, box);
    must(box->pid, "clone");
    close(box->input[0]);
    close(box->output[1]);
    close(box->status[1]);
}

static void measure(int run, const char *directory, const char *lower)
{
    struct sandbox box;
    char output[64];
    double began = now();

    start(&box, run, directory, lower);
    ask(&box, "echo ready >&9\n");
    add(&created, began);
    for (int command = 0; command < COMMANDS_PER_RUN; command++) {
        began = now();
        ask(&box, "true\necho $? >&9\n");
        add(&builtin, began);
        began = now();
        ask(&box, "/bin/echo hi\necho $? >&9\n");
        must(read(box.output[0], output, sizeof output), "read from bash");
        add(&echoed, began);
    }
    began = now();
    kill(box.pid, SIGKILL);
    waitpid(box.pid, NULL, 0);
    add(&killed, began);
    close(box.input[1]);
    close(box.output[0]);
    close(box.status[0]);
}

static void print(const struct samples *samples, const char *after)
{
    printf("\"%s\": [", samples->name);
    for (int index = 0; index < samples->count; index++)
        printf("%s%.4f", index ? ", " : "", samples->milliseconds[index]);
    printf("]%s", after);
}

int main(int count, char **arguments)
{
    int runs = count > 2 ? atoi(arguments[1]) : 0;

    if (runs < 1 || runs > MAXIMUM_RUNS) {
        fprintf(stderr, "usage: floor RUNS DIR [LOWER]   (1 to %d runs)\n", MAXIMUM_RUNS);
        return 2;
    }
    for (int run = 0; run < runs; run++)
        measure(run, arguments[2], count > 3 ? arguments[3] : "/");
    printf("{");
    print(&created, ", ");
    print(&builtin, ", ");
    print(&echoed, ", ");
    print(&killed, "}\n");
    return 0;
}
