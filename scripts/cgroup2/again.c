// again TEXT FILE…: writes TEXT to each file, again and again, until its time of change is what it was before the first
// write of any, which the clock, set back, has yet to come to. Prints how many have that time, to the nanosecond.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 100 };

static long long changed(const char *file) {
    struct stat status;
    return stat(file, &status) ? -1 : status.st_ctim.tv_sec * 1000000000LL + status.st_ctim.tv_nsec;
}

int main(int argc, char **argv) {
    long long before[MOST];
    int count = argc - 2, same = 0;
    if (count < 1 || count > MOST) return 2;
    for (int n = 0; n < count; n++) before[n] = changed(argv[2 + n]);
    for (int n = 0; n < count; n++) {
        long long now;
        do {
            int file = open(argv[2 + n], O_WRONLY | O_TRUNC);
            if (file < 0 || write(file, argv[1], strlen(argv[1])) < 0) return 1;
            close(file);
        } while ((now = changed(argv[2 + n])) < before[n]);
        same += now == before[n];
    }
    printf("%d\n", same);
    return 0;
}
