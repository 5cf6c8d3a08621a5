// PID 1 of a test's sandbox: nothing of it comes from outside; starts its arguments as a program and reaps.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    setsid();
    for (int fd = 0; fd < 3; fd++) close(fd);
    if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2) return 1;
    if (argc > 1 && fork() == 0) {
        setsid();
        int log = open("/log", O_WRONLY | O_CREAT | O_APPEND, 0666);
        dup2(log, 1), dup2(log, 2), close(log);
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    for (;;)
        if (waitpid(-1, 0, 0) < 0) pause();
}
