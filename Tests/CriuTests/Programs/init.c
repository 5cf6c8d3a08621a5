#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <errno.h>
int main(int argc, char **argv) {
    setsid();
    for (int fd = 0; fd < 3; fd++) close(fd);
    open("/dev/null", O_RDWR), dup(0), dup(0);
    if (argc > 1 && fork() == 0) {
        setsid();
        int log = open("/log", O_WRONLY | O_CREAT | O_APPEND, 0666);
        dup2(log, 1), dup2(log, 2), close(log);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    for (;;) if (waitpid(-1, 0, 0) < 0) pause();
}
