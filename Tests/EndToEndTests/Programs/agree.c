// Counts in memory and in files, and never lets the two part: before each step it checks that every file says
// what memory says, so a snapshot whose files and memory are of two instants is caught at the first step after
// its restore and cannot heal. A line on stdin is answered with "COUNT MISMATCHES".
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { slots = 4096 };

static unsigned long count;
static unsigned long mismatches;

static void check(const char *what, unsigned long in_file, unsigned long in_memory) {
	if (in_file == in_memory)
		return;
	mismatches++;
	fprintf(stderr, "%s: the file says %lu, memory says %lu\n", what, in_file, in_memory);
}

static unsigned long read_slot(int fd, unsigned long slot) {
	unsigned long value = ~0ul;
	if (pread(fd, &value, sizeof value, (off_t)(slot * sizeof value)) != sizeof value)
		value = ~0ul;
	return value;
}

// Every slot of the ring must hold the last count that fell on it.
static void check_ring(int ring) {
	for (unsigned long back = 0; back < slots && back < count; back++) {
		unsigned long expected = count - back;
		check("ring", read_slot(ring, expected % slots), expected);
	}
}

int main(void) {
	int last = open("/root/agree.last", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int ring = open("/root/agree.ring", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int mapped = open("/root/agree.mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int log = open("/root/agree.log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
	if (last < 0 || ring < 0 || mapped < 0 || log < 0 || ftruncate(mapped, 4096) || ftruncate(ring, slots * 8))
		return 1;
	unsigned long *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
	unsigned long logged = 0;
	if (map == MAP_FAILED || pwrite(last, &count, sizeof count, 0) != sizeof count)
		return 1;
	for (;;) {
		struct pollfd in = { .fd = 0, .events = POLLIN };
		if (poll(&in, 1, 0) == 1) {
			char line[64];
			if (!fgets(line, sizeof line, stdin))
				return 0;
			check_ring(ring);
			printf("%lu %lu\n", count, mismatches);
			fflush(stdout);
		}
		check("last", read_slot(last, 0), count);
		check("mapped", read_slot(mapped, 0), *map);
		check("mapping", *map, count);
		struct stat status;
		check("log's size", fstat(log, &status) ? 0 : (unsigned long)status.st_size, logged);
		if (logged >= 1 << 16) {
			if (ftruncate(log, 0))
				return 1;
			logged = 0;
		}
		count++;
		// By path in turn, so that what the processes hold open and what the paths lead to must stay one.
		int by_path = count % 64 ? -1 : open("/root/agree.last", O_RDWR);
		if (pwrite(by_path < 0 ? last : by_path, &count, sizeof count, 0) != sizeof count)
			return 1;
		if (by_path >= 0)
			close(by_path);
		if (pwrite(ring, &count, sizeof count, (off_t)(count % slots * sizeof count)) != sizeof count)
			return 1;
		if (write(log, &count, sizeof count) != sizeof count)
			return 1;
		logged += sizeof count;
		*map = count;
	}
}
