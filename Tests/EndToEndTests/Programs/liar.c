// A PID 1 that lies to the server: it takes ckpt-init's place (CKPT_INIT), says that all is well, and answers every
// connection as MODE says. Compiled with -static, -DMODE=… and the protocol's header.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ckpt_init_protocol.h"

enum { GARBAGE, OVERSIZED, ENDLESS_ENTRIES, ENDLESS_GREETINGS, ENDLESS_OUTPUT, WRONG_ENTRY, HUGE_OFFSETS, HUGE_ENTRY,
	HUNG_UP, SILENT };

static void send_all(int fd, const void *bytes, size_t count) {
	for (const char *at = bytes; count;) {
		ssize_t put = send(fd, at, count, MSG_NOSIGNAL);
		if (put <= 0) _exit(0);
		at += put;
		count -= (size_t)put;
	}
}

static void frame(int fd, struct ckpt_frame head, const void *payload) {
	send_all(fd, &head, sizeof head);
	send_all(fd, payload, head.length);
}

static void hello(int fd) {
	frame(fd, (struct ckpt_frame){.type = CKPT_HELLO, .value = CKPT_INIT_VERSION}, "");
	frame(fd, (struct ckpt_frame){.type = CKPT_LIST_END}, "");
}

/// Waits for a SPAWN and returns its tag.
static uint32_t spawned(int fd) {
	static char payload[CKPT_INIT_PAYLOAD];
	struct ckpt_frame head;
	while (recv(fd, &head, sizeof head, MSG_WAITALL) == sizeof head) {
		if (head.length && recv(fd, payload, head.length, MSG_WAITALL) != (ssize_t)head.length) break;
		if (head.type == CKPT_SPAWN) return head.tag;
	}
	_exit(0);
}

static void lie(int fd) {
	static char block[65536];
	struct ckpt_entry entry = {.id = "a", .pid = 2};
	struct ckpt_frame listed = {.length = sizeof entry, .type = CKPT_ENTRY};
	struct ckpt_frame output = {.length = sizeof block, .type = CKPT_OUTPUT, .stream = 1};
	switch (MODE) {
	case GARBAGE:
		memset(block, 0x5a, sizeof block);
		send_all(fd, block, sizeof block);
		break;
	case OVERSIZED:
		send_all(fd, &(struct ckpt_frame){.length = UINT32_MAX, .type = CKPT_HELLO}, sizeof(struct ckpt_frame));
		break;
	case ENDLESS_ENTRIES:
		frame(fd, (struct ckpt_frame){.type = CKPT_HELLO, .value = CKPT_INIT_VERSION}, "");
		for (;;) frame(fd, listed, &entry);
	case ENDLESS_GREETINGS:
		for (;;) frame(fd, (struct ckpt_frame){.type = CKPT_HELLO, .value = CKPT_INIT_VERSION}, "");
	case ENDLESS_OUTPUT:
		hello(fd);
		for (output.tag = spawned(fd);; output.offset += sizeof block) frame(fd, output, block);
	case HUGE_OFFSETS:
		hello(fd);
		output.tag = spawned(fd);
		frame(fd, (struct ckpt_frame){.type = CKPT_STDIN_TAKEN, .tag = output.tag, .offset = UINT64_MAX - 1, .value = ~0u}, "");
		output.offset = UINT64_MAX - 3;
		frame(fd, output, block);
		frame(fd, (struct ckpt_frame){.type = CKPT_REFUSED, .tag = output.tag, .value = ~0u}, "");
		break;
	case WRONG_ENTRY:
		strcpy(entry.id, "../../etc/passwd");
		// fall through
	case HUGE_ENTRY:
		if (MODE == HUGE_ENTRY) {
			entry.pid = ~0u;
			entry.produced[0] = entry.acknowledged[0] = entry.stdin_taken = UINT64_MAX;
		}
		frame(fd, (struct ckpt_frame){.type = CKPT_HELLO, .value = CKPT_INIT_VERSION}, "");
		frame(fd, listed, &entry);
		frame(fd, (struct ckpt_frame){.type = CKPT_LIST_END}, "");
		break;
	case SILENT: break;
	case HUNG_UP: return;
	}
	pause();
}

int main(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = CKPT_INIT_SOCKET};
	mkdir(CKPT_INIT_DIRECTORY, 0711);
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8)) return 1;
	if (write(4, "ok\n", 3) != 3) return 1;
	close(3);
	close(4);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0) continue;
		if (fork() == 0) {
			lie(fd);
			_exit(0);
		}
		close(fd);
	}
}
