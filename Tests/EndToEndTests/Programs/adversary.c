// What somebody who means harm tries from inside a sandbox.
//   adversary probe MARKER ABSTRACT PORT   one line for each attempt: its name and how it ended ("ok" or an errno)
//   adversary forks | memory | descriptors | kill-all
// MARKER is a file of the host, ABSTRACT the name of an abstract socket of the host's, PORT a port it listens on.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *name, long result) {
	printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static void try_write(const char *name, const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0) {
		say(name, -1);
		return;
	}
	say(name, write(fd, text, strlen(text)));
	close(fd);
}

static void try_open(const char *name, const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	say(name, fd);
	if (fd >= 0) close(fd);
}

// Reads a byte: some files open for everybody and refuse afterwards.
static void try_read(const char *name, const char *path) {
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		say(name, -1);
		return;
	}
	errno = ENODATA;
	say(name, read(fd, &byte, 1) > 0 ? 0 : -1);
	close(fd);
}

static void mounts(void) {
	mkdir("/tmp/m", 0777);
	say("mount", mount("none", "/tmp/m", "tmpfs", 0, ""));
	say("mount-proc", mount("none", "/tmp/m", "proc", 0, ""));
	say("mount-cgroup", mount("none", "/tmp/m", "cgroup", 0, "memory"));
	say("remount", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
	say("bind", mount("/", "/tmp/m", NULL, MS_BIND, NULL));
	say("umount", umount2("/proc/sys", MNT_DETACH));
	say("umount-root", umount2("/", MNT_DETACH));
	say("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp/m"));
	say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	say("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
	say("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/tmp/m", 0));
	say("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0));
	// mount of the 32-bit table, by the old gate.
	int32_t result = 21;
	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
	errno = result < 0 ? -result : 0;
	say("mount-32", result < 0 ? -1 : 0);
	say("mount-x32", syscall(SYS_mount | 0x40000000, "none", "/tmp/m", "tmpfs", 0, ""));
}

static int child_of_clone(void *unused) {
	(void)unused;
	return 0;
}

static void namespaces(void) {
	static char stack[65536] __attribute__((aligned(16)));
	say("unshare-user", unshare(CLONE_NEWUSER));
	say("unshare-mount", unshare(CLONE_NEWNS));
	say("unshare-net", unshare(CLONE_NEWNET));
	say("clone-user", clone(child_of_clone, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL));
	uint64_t arguments[11] = {CLONE_NEWUSER};
	say("clone3-user", syscall(SYS_clone3, arguments, sizeof arguments));
	try_open("proc-1-ns", "/proc/1/ns/mnt");
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	say("setns", setns(own, 0));
	close(own);
	// The classic way out of a chroot leads to the root of the mount namespace, and that is the sandbox's.
	int here = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	say("chroot", chroot("/tmp"));
	if (fchdir(here) == 0)
		for (int i = 0; i < 100; i++)
			if (chdir("..") < 0) break;
	say("chroot-back", chroot("."));
	close(here);
}

static void first_process(void) {
	char byte;
	struct iovec ours = {&byte, 1}, theirs = {(void *)0x400000, 1};
	try_open("proc-1-root", "/proc/1/root/etc");
	try_open("proc-1-cwd", "/proc/1/cwd/etc");
	try_open("proc-1-mem", "/proc/1/mem");
	try_open("proc-1-fd", "/proc/1/fd/3");
	try_read("proc-1-environ", "/proc/1/environ");
	try_read("proc-1-maps", "/proc/1/maps");
	say("ptrace-1", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
	say("seize-1", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
	say("vm-read-1", process_vm_readv(1, &ours, 1, &theirs, 1, 0));
	int first = (int)syscall(SYS_pidfd_open, 1, 0);
	say("pidfd_getfd-1", syscall(SYS_pidfd_getfd, first, 3, 0));
	say("setns-1", setns(first, CLONE_NEWNS));
	close(first);
	try_write("proc-1-oom", "/proc/1/oom_score_adj", "-1000");
	// It answers nobody inside.
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/.ckpt/socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(fd, (void *)&address, sizeof address) < 0) {
		say("socket-1", -1);
	} else {
		ssize_t got = read(fd, &byte, 1);
		if (got == 0) errno = ENODATA;
		say("socket-1", got > 0 ? 0 : -1);
	}
	close(fd);
}

static void kernel_files(void) {
	try_write("core_pattern", "/proc/sys/kernel/core_pattern", "|/tmp/evil");
	try_write("modprobe", "/proc/sys/kernel/modprobe", "/tmp/evil");
	try_write("sysctl-hostname", "/proc/sys/kernel/hostname", "evil");
	try_write("drop_caches", "/proc/sys/vm/drop_caches", "3");
	try_write("ip_forward", "/proc/sys/net/ipv4/ip_forward", "1");
	try_write("sysrq", "/proc/sysrq-trigger", "h");
	try_read("kcore", "/proc/kcore");
	try_read("kmsg", "/proc/kmsg");
	try_write("uevent_helper", "/sys/kernel/uevent_helper", "/tmp/evil");
	try_write("power", "/sys/power/state", "mem");
	try_write("release_agent", "/sys/fs/cgroup/release_agent", "/tmp/evil");
	try_write("release_agent-v1", "/sys/fs/cgroup/memory/release_agent", "/tmp/evil");
	try_write("device-cgroup", "/sys/fs/cgroup/devices/devices.allow", "a");
	unlink("/tmp/disk");
	say("mknod-disk", mknod("/tmp/disk", S_IFBLK | 0600, makedev(8, 0)));
	unlink("/tmp/memory");
	say("mknod-mem", mknod("/tmp/memory", S_IFCHR | 0600, makedev(1, 1)));
	try_open("dev-mem", "/dev/mem");
	try_open("dev-kmsg", "/dev/kmsg");
}

static void refused_calls(void) {
	struct perf_event_attr counter = {.type = PERF_TYPE_SOFTWARE, .size = sizeof counter};
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	char zeros[256] = {0};
	say("add_key", syscall(SYS_add_key, "user", "evil", "x", 1, -3));
	say("request_key", syscall(SYS_request_key, "user", "evil", NULL, -3));
	say("keyctl", syscall(SYS_keyctl, 0, -3, 1));
	say("perf_event_open", syscall(SYS_perf_event_open, &counter, 0, -1, -1, 0));
	say("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof map));
	say("userfaultfd", syscall(SYS_userfaultfd, 1));
	say("io_uring_setup", syscall(SYS_io_uring_setup, 1, zeros));
	say("landlock", syscall(444, NULL, 0, 1));
	say("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, 0));
	say("init_module", syscall(SYS_init_module, zeros, 1, ""));
	say("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	say("reboot", syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_CAD_OFF, NULL));
	say("sethostname", sethostname("evil", 4));
	say("settimeofday", settimeofday(&(struct timeval){1, 1}, NULL));
	say("swapon", syscall(SYS_swapon, "/tmp/x", 0));
	say("syslog", syscall(SYS_syslog, 3, zeros, 10));
	say("acct", syscall(SYS_acct, NULL));
	say("iopl", syscall(SYS_iopl, 3));
	say("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
	say("personality", personality(READ_IMPLIES_EXEC));
	say("new-call", syscall(999));
	// Words into a terminal's input, also with the bits set that the kernel does not look at.
	say("TIOCSTI", ioctl(0, TIOCSTI, "x"));
	say("TIOCSTI-high", syscall(SYS_ioctl, 0, UINT64_C(0x100005412), "x"));
	say("TIOCLINUX", ioctl(0, TIOCLINUX, "\3"));
}

static void rights(void) {
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct all[2] = {{~0u, ~0u, 0}, {~0u, ~0u, 0}};
	struct rlimit limit;
	say("capset", syscall(SYS_capset, &head, all));
	say("forget-no-new-privs", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
	say("seccomp-off", prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max += 1;
	say("raise-limit", setrlimit(RLIMIT_NOFILE, &limit));
	say("nice", setpriority(PRIO_PROCESS, 0, -20));
	say("real-time", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}));
	try_write("oom", "/proc/self/oom_score_adj", "-1000");
	say("read-shadow", access("/etc/shadow", R_OK));
	say("setuid", setresuid(0, 0, 0));
}

static void network(const char *abstract, int port) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	strcpy(name.sun_path + 1, abstract);
	socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	say("abstract", connect(fd, (void *)&name, length));
	close(fd);
	struct sockaddr_in host = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	say("host-port", connect(fd, (void *)&host, sizeof host));
	host.sin_addr.s_addr = inet_addr("192.0.2.1");
	say("outside", connect(fd, (void *)&host, sizeof host));
	close(fd);
	// Root's raw sockets see its own loopback alone.
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	say("packet", fd);
	close(fd);
	fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	say("raw", fd);
	close(fd);
	struct if_nameindex *all = if_nameindex();
	int others = 0;
	for (struct if_nameindex *one = all; one && one->if_index; one++) others += strcmp(one->if_name, "lo") != 0;
	errno = ENODEV;
	say("interfaces", others ? 0 : -1);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo"};
	say("interface-down", ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
	say("vsock", socket(40, SOCK_STREAM, 0));
	say("alg", socket(38, SOCK_SEQPACKET, 0));
}

static void probe(char **argument) {
	try_open("host-file", argument[0]);
	mounts();
	first_process();
	kernel_files();
	refused_calls();
	network(argument[1], atoi(argument[2]));
	rights();
	namespaces();
	try_open("host-file-again", argument[0]);
}

static void forks(void) {
	int made = 0;
	signal(SIGCHLD, SIG_IGN);
	for (; made < 20000; made++) {
		pid_t pid = fork();
		if (pid == 0)
			for (;;) {
				fork();
				pause();
			}
		if (pid < 0) break;
	}
	say("forks", made < 20000 ? -1 : 0);
	for (;;) pause();
}

static void memory(void) {
	for (size_t all = 0; all < (size_t)4 << 30; all += 16 << 20) {
		char *piece = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (piece == MAP_FAILED) break;
		memset(piece, 1, 16 << 20);
	}
	say("memory", 0);
}

static void descriptors(void) {
	int fd;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0) {}
	say("descriptors", fd);
	while ((fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0) {}
	pause();
}

int main(int count, char **argument) {
	const char *mode = count > 1 ? argument[1] : "";
	if (!strcmp(mode, "probe") && count == 5) probe(argument + 2);
	else if (!strcmp(mode, "forks")) forks();
	else if (!strcmp(mode, "memory")) memory();
	else if (!strcmp(mode, "descriptors")) descriptors();
	else if (!strcmp(mode, "kill-all")) {
		kill(1, SIGKILL);
		kill(1, SIGSTOP);
		kill(1, SIGSEGV);
		kill(-1, SIGKILL);
	} else return 2;
	return 0;
}
