// What a server of its own needs from C: a detached start, and signals as a descriptor.
#ifndef CLINUX_DAEMON_H
#define CLINUX_DAEMON_H

/// Starts `path` with `argv` as a daemon: a session of its own, not our child, working directory `/`, stdin
/// from /dev/null, stdout and stderr to `log_fd`, `ready_fd` as descriptor 3, nothing else open, default
/// signals. Returns 0 once it executes, or the errno of the step that failed.
int clinux_spawn_detached(const char *path, char *const argv[], char *const envp[], int log_fd, int ready_fd);

/// Lets SIGTERM and SIGINT write a byte to `fd` instead of ending the process, even where its parent had blocked
/// them, and SIGPIPE do nothing. They are handlers and not SIG_IGN because execve(2) resets a handler for what we
/// start and would pass SIG_IGN on.
int clinux_catch_stop_signals(int fd);

#endif
