// Runs cat on a terminal of its own, writes /ready, waits for /go and then asserts that the terminal still
// echoes, still passes lines on and still turns ^C into a signal. What it finds is one line in /result.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void note(const char *file, const char *text) {
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, text, strlen(text)) < 0) _exit(1);
    close(fd);
}

static void must(int good, const char *what) {
    if (good) return;
    char text[256];
    snprintf(text, sizeof text, "%s: %m\n", what);
    note("/result", text);
    exit(1);
}

// The line once as the terminal's echo and once from cat.
static void pass(int master, const char *line) {
    char got[256] = "", expected[256];
    snprintf(expected, sizeof expected, "%s\r\n%s\r\n", line, line);
    must(dprintf(master, "%s\n", line) > 0, "write to the terminal");
    for (size_t have = 0; have < strlen(expected);) {
        ssize_t n = read(master, got + have, sizeof got - have - 1);
        must(n > 0, "read from the terminal");
        have += n;
    }
    must(!strcmp(got, expected), "echo");
}

int main(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    must(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "open a terminal");
    pid_t child = fork();
    if (child == 0) {
        setsid();
        int slave = open(ptsname(master), O_RDWR);
        if (slave < 0 || ioctl(slave, TIOCSCTTY, 0)) _exit(1);
        dup2(slave, 0), dup2(slave, 1), dup2(slave, 2);
        close(slave), close(master);
        execlp("cat", "cat", NULL);
        _exit(127);
    }
    pass(master, "before");
    note("/ready", "ready\n");
    while (access("/go", F_OK)) {
        struct timespec nap = {0, 10000000};
        nanosleep(&nap, 0);
    }
    pass(master, "after");
    int status = 0;
    must(write(master, "\003", 1) == 1, "write ^C");
    must(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "signal from the terminal");
    note("/result", "ok\n");
    for (;;) pause();
}
