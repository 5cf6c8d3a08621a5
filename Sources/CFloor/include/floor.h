// The floor under ckpt's numbers: the least that a sandbox can cost here, in plain C with nothing around it.
#ifndef CKPT_FLOOR_H
#define CKPT_FLOOR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A bash that is PID 1 of namespaces of its own (pid, mnt, uts, ipc, net) on an overlay. It reads commands from the FIFO
/// `/.floor-in` and answers on `/.floor-out`, so that nothing it holds open ends outside and CRIU can dump it.
struct cfloor_box {
    pid_t pid;
    /// Our ends of the two FIFOs.
    int input, output;
};

/// Starts one. `directory` has `upper`, `work` and `merged`, which are made where they are missing; `lower` is the base.
/// Returns 0, or -1 with errno and the step that failed in `step`.
int cfloor_start(struct cfloor_box *box, const char *directory, const char *lower, const char **step);

/// Mounts the overlay of `directory` at its `merged` in the caller's own mount namespace: 0, or -1 with errno.
int cfloor_mount(const char *directory, const char *lower);

/// Opens the FIFOs of a bash that lives already, once CRIU has restored it: 0, or -1 with errno.
int cfloor_adopt(struct cfloor_box *box, pid_t pid);

/// Sends shell text whose output ends in `=`, and waits for that, for so many milliseconds at most: 0, or -1 with errno.
int cfloor_ask(const struct cfloor_box *box, const char *text, int milliseconds);

/// Kills it with all that it started, and reaps it.
void cfloor_kill(struct cfloor_box *box);

/// Closes our ends of its FIFOs.
void cfloor_close(struct cfloor_box *box);

/// Starts a program without arguments by vfork(2) and execve(2), and waits for its end: its exit code, or -1.
int cfloor_run(const char *path);

/// Hands a byte through so many processes (1 to 8) and back, each to the next over a Unix socket, as many times as
/// `rounds`; the nanoseconds of each go to `took`. Returns 0, or -1 with errno.
int cfloor_relay(int relays, int rounds, uint64_t *took);

/// Writes, or reads, a whole file of `size` bytes by open, one call and close: 0, or -1 with errno.
int cfloor_write_file(const char *path, const void *bytes, size_t size);
int cfloor_read_file(const char *path, void *bytes, size_t size);

/// Copies `size` bytes from one place to the other, so many times.
void cfloor_copy(void *to, const void *from, size_t size, int times);

/// Takes a directory away with all below it, on one filesystem and without following links: 0, or -1 with errno.
int cfloor_remove_tree(const char *path);

#endif
