// Opens sockets with unread data in them, writes /ready, waits for /go and asserts that it all still works.
// What it finds is one line in /result: "ok", or the first thing that is not as it was.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static int connected(const struct sockaddr *to, socklen_t size) {
    int fd = socket(to->sa_family, SOCK_STREAM, 0);
    must(fd >= 0 && connect(fd, to, size) == 0, "connect");
    return fd;
}

static void expect(int fd, const char *text, const char *what) {
    char got[64] = "";
    ssize_t n = read(fd, got, strlen(text));
    must(n == (ssize_t)strlen(text) && !memcmp(got, text, n), what);
}

static void talk(int a, int b, const char *what) {
    must(write(a, "ping", 4) == 4, what);
    expect(b, "ping", what);
    must(write(b, "pong", 4) == 4, what);
    expect(a, "pong", what);
}

int main(void) {
    struct sockaddr_in web = {.sin_family = AF_INET, .sin_port = htons(80)};
    web.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/run/test.sock"};
    int tcp = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(tcp, (struct sockaddr *)&web, sizeof web) == 0 && listen(tcp, 8) == 0, "listen on port 80");
    unlink(local.sun_path);
    int unix_listener = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(unix_listener, (struct sockaddr *)&local, sizeof local) == 0, "bind a Unix socket");
    must(listen(unix_listener, 8) == 0, "listen on a Unix socket");

    int tcp_client = connected((struct sockaddr *)&web, sizeof web), tcp_server = accept(tcp, 0, 0);
    int unix_client = connected((struct sockaddr *)&local, sizeof local);
    int unix_server = accept(unix_listener, 0, 0);
    must(tcp_server >= 0 && unix_server >= 0, "accept");
    must(write(tcp_client, "unread tcp", 10) == 10 && write(unix_client, "unread unix", 11) == 11, "write");

    note("/ready", "ready\n");
    while (access("/go", F_OK)) {
        struct timespec nap = {0, 10000000};
        nanosleep(&nap, 0);
    }
    expect(tcp_server, "unread tcp", "unread data of a TCP connection");
    expect(unix_server, "unread unix", "unread data of a Unix connection");
    talk(tcp_client, tcp_server, "TCP connection");
    talk(unix_client, unix_server, "Unix connection");
    int again = connected((struct sockaddr *)&web, sizeof web), peer = accept(tcp, 0, 0);
    talk(again, peer, "new connection to port 80");
    int other = connected((struct sockaddr *)&local, sizeof local), end = accept(unix_listener, 0, 0);
    talk(other, end, "new connection to the Unix socket");
    note("/result", "ok\n");
    for (;;) pause();
}
