// Holds an io_uring, made by the raw system call as liburing does.
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
	struct io_uring_params params;
	memset(&params, 0, sizeof params);
	int ring = (int)syscall(SYS_io_uring_setup, 8, &params);
	if (ring < 0) {
		perror("io_uring_setup");
		return 1;
	}
	size_t size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	if (mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING) == MAP_FAILED)
		return 2;
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
