// Holds one thing that cannot be saved, named by its argument, says "ready" and waits for ever.
// A second argument names a file to say it in.
// What the machine or the sandbox does not allow ends it with 77 and the reason on stderr.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void cannot(const char *what) {
	perror(what);
	exit(77);
}

// The descriptor that the tests look for.
static void hold(const char *what, long fd) {
	if (fd < 0)
		cannot(what);
	if (dup2((int)fd, 9) < 0)
		cannot("dup2");
	if (fd != 9)
		close((int)fd);
}

static void child_that(void (*does)(void)) {
	pid_t child = fork();
	if (child < 0)
		cannot("fork");
	if (child == 0) {
		if (does)
			does();
		for (;;)
			pause();
	}
}

static long ring(void) {
	struct io_uring_params params;
	memset(&params, 0, sizeof params);
	return syscall(SYS_io_uring_setup, 4, &params);
}

static void io_uring(void) { hold("io_uring_setup", ring()); }

// The rings of an io_uring stay mapped after its descriptor is closed.
static void io_uring_mapping(void) {
	long fd = ring();
	if (fd < 0 || mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, IORING_OFF_SQES) == MAP_FAILED)
		cannot("io_uring");
	close((int)fd);
}

static void perf_event(void) {
	struct perf_event_attr counter = { .type = PERF_TYPE_SOFTWARE, .size = sizeof counter,
					   .config = PERF_COUNT_SW_CPU_CLOCK, .exclude_kernel = 1 };
	hold("perf_event_open", syscall(SYS_perf_event_open, &counter, 0, -1, -1, 0));
}

static void userfaultfd(void) { hold("userfaultfd", syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */)); }

static void bpf_map(void) {
	union bpf_attr map = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	hold("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
}

static void bpf_program(void) {
	struct bpf_insn code[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr program = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insn_cnt = 2,
				   .insns = (unsigned long)code, .license = (unsigned long)"GPL" };
	hold("bpf", syscall(SYS_bpf, BPF_PROG_LOAD, &program, sizeof program));
}

static void landlock_ruleset(void) {
	struct { unsigned long files; } rules = { 1 };
	hold("landlock_create_ruleset", syscall(444, &rules, sizeof rules, 0));
}

static void packet_pipe(void) {
	int ends[2];
	if (pipe2(ends, O_DIRECT) || write(ends[1], "packet", 6) != 6 || dup2(ends[0], 10) < 0)
		cannot("pipe2");
	close(ends[0]);
	hold("pipe2", ends[1]);
}

static int listener(int protocol) {
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(8099),
				   .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, protocol);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) || listen(fd, 8))
		cannot("listen");
	return fd;
}

static void mptcp(void) { hold("mptcp", listener(262 /* IPPROTO_MPTCP */)); }

static void unaccepted(void) {
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(8099),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = listener(0), client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(client, (struct sockaddr *)&there, sizeof there))
		cannot("connect");
	hold("listener", fd);
}

static void corked_udp(void) {
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(9),
				     .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_CORK, &on, sizeof on) ||
	    sendto(fd, "half", 4, 0, (struct sockaddr *)&there, sizeof there) != 4)
		cannot("udp");
	hold("udp", fd);
}

static void vsock(void) { hold("vsock", socket(AF_VSOCK, SOCK_STREAM, 0)); }
static void alg_socket(void) { hold("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0)); }
static void key_socket(void) { hold("AF_KEY", socket(15 /* AF_KEY */, SOCK_RAW, 2)); }
static void sctp(void) { hold("sctp", socket(AF_INET, SOCK_STREAM, 132)); }

static void netlink_data(void) {
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	struct { struct nlmsghdr head; struct rtgenmsg body; } ask = {
		{ sizeof ask, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 }, { AF_UNSPEC }
	};
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) || send(fd, &ask, sizeof ask, 0) < 0)
		cannot("netlink");
	hold("netlink", fd);
}

static void nested_pid(void) {
	if (unshare(CLONE_NEWPID))
		cannot("unshare");
	child_that(0);
}

static void nested_user(void) {
	if (unshare(CLONE_NEWUSER))
		cannot("unshare");
}

static void nested_uts(void) {
	if (unshare(CLONE_NEWUTS))
		cannot("unshare");
}

static void traced(void) {
	pid_t child = fork();
	if (child == 0)
		for (;;)
			pause();
	if (child < 0 || ptrace(PTRACE_SEIZE, child, 0, 0))
		cannot("ptrace");
}

static const char *said_in;

static void say_ready(void) {
	int fd = said_in ? open(said_in, O_WRONLY | O_CREAT, 0644) : 1;
	if (fd < 0 || write(fd, "ready\n", 6) != 6)
		cannot("ready");
	if (said_in)
		close(fd);
}

static void *wait_in_thread(void *unused) {
	say_ready();
	for (;;)
		pause();
	return unused;
}

static void dead_leader(void) {
	pthread_t thread;
	if (pthread_create(&thread, 0, wait_in_thread, 0))
		cannot("pthread_create");
	pthread_exit(0);
}

static void secret_memory(void) {
	int fd = (int)syscall(447 /* memfd_secret */, 0);
	if (fd < 0 || ftruncate(fd, 4096))
		cannot("memfd_secret");
	char *secret = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (secret == MAP_FAILED)
		cannot("mmap");
	*secret = 1;
	hold("memfd_secret", fd);
}

static void large_deleted_file(void) {
	int fd = open("/root/ghost", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || fallocate(fd, 0, 0, (1L << 30) + 4096) || unlink("/root/ghost"))
		cannot("ghost");
	hold("ghost", fd);
}

static void message_queue(void) {
	mqd_t queue = mq_open("/refusals", O_RDWR | O_CREAT, 0600, 0);
	hold("mq_open", queue);
}

static void mount_context(void) { hold("fsopen", syscall(430 /* fsopen */, "tmpfs", 0)); }

static void detached_mount(void) {
	int context = (int)syscall(430 /* fsopen */, "tmpfs", 0);
	if (context < 0 || syscall(431 /* fsconfig */, context, 6, 0, 0, 0))
		cannot("fsopen");
	hold("fsmount", syscall(432 /* fsmount */, context, 0, 0));
}

static void overmounted(void) {
	if (mkdir("/root/under", 0755) && errno != EEXIST)
		cannot("mkdir");
	int fd = open("/root/under", O_RDONLY | O_DIRECTORY);
	if (mount("none", "/root/under", "tmpfs", 0, 0))
		cannot("mount");
	int file = openat(AT_FDCWD, "/root/under/x", O_RDWR | O_CREAT, 0600);
	if (mount("none", "/root/under", "tmpfs", 0, 0))
		cannot("mount");
	close(fd);
	hold("overmounted", file);
}

static void replaced_file(void) {
	int fd = open("/root/replaced", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || link("/root/replaced", "/root/other") || unlink("/root/replaced") ||
	    open("/root/replaced (deleted)", O_RDWR | O_CREAT, 0600) < 0)
		cannot("replaced");
	hold("replaced", fd);
}

static void seqpacket_credentials(void) {
	int pair[2], on = 1;
	struct iovec byte = { "x", 1 };
	char room[CMSG_SPACE(sizeof(struct ucred))] = { 0 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = room,
				  .msg_controllen = sizeof room };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	struct ucred me = { getpid(), getuid(), getgid() };
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_CREDENTIALS;
	head->cmsg_len = CMSG_LEN(sizeof me);
	memcpy(CMSG_DATA(head), &me, sizeof me);
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) ||
	    setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) || sendmsg(pair[0], &message, 0) != 1)
		cannot("socketpair");
	hold("socketpair", pair[1]);
}

static const struct {
	const char *name;
	void (*take)(void);
} modes[] = {
	{ "io-uring", io_uring },
	{ "io-uring-mapping", io_uring_mapping },
	{ "perf-event", perf_event },
	{ "userfaultfd", userfaultfd },
	{ "bpf-map", bpf_map },
	{ "bpf-program", bpf_program },
	{ "landlock-ruleset", landlock_ruleset },
	{ "packet-pipe", packet_pipe },
	{ "mptcp", mptcp },
	{ "unaccepted", unaccepted },
	{ "corked-udp", corked_udp },
	{ "vsock", vsock },
	{ "alg-socket", alg_socket },
	{ "key-socket", key_socket },
	{ "sctp", sctp },
	{ "netlink-data", netlink_data },
	{ "nested-pid", nested_pid },
	{ "nested-user", nested_user },
	{ "nested-uts", nested_uts },
	{ "traced", traced },
	{ "dead-leader", dead_leader },
	{ "secret-memory", secret_memory },
	{ "large-deleted-file", large_deleted_file },
	{ "message-queue", message_queue },
	{ "mount-context", mount_context },
	{ "detached-mount", detached_mount },
	{ "overmounted", overmounted },
	{ "replaced-file", replaced_file },
	{ "credentials-in-queue", seqpacket_credentials },
};

int main(int argc, char **argv) {
	said_in = argc > 2 ? argv[2] : NULL;
	mkdir("/root", 0700);
	for (size_t i = 0; argc > 1 && i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(argv[1], modes[i].name))
			continue;
		modes[i].take();
		say_ready();
		for (;;)
			pause();
	}
	fprintf(stderr, "no such mode\n");
	return 2;
}
