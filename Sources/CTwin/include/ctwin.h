// The holder of a sandbox's twins: a process of its own that stops the sandbox's processes, forks each of
// them by ptrace(2) and keeps the copies stopped, so that they are the sandbox's memory of one instant.
//
// It is no thread of the server, for a process that is traced while its tracer dies runs on with whatever
// registers it has just then. The holder outlives a server that is killed for as long as it has something
// half done, then lets the sandbox's processes go and ends; the kernel ends the twins with it
// (PTRACE_O_EXITKILL).
#ifndef CTWIN_H
#define CTWIN_H

#include <stdint.h>
#include <sys/types.h>

#include "ccalls.h"
#include "cnote.h"
#include "crebuild.h"

/// What the holder is asked on its socket (SOCK_SEQPACKET), one reply for each.
enum ctwin_request_kind {
    /// Stops all processes and makes twins as set `set`; they stand still afterwards. Where they could be
    /// stopped that is said first, by a reply of its own.
    CTWIN_MAKE = 1,
    /// Lets the processes that MAKE or NOTE stopped go on. Where it is sent before MAKE is done it is obeyed right then,
    /// and answered after it.
    CTWIN_GO = 2,
    /// Ends every process but PID 1, which stands still afterwards, and the twins.
    CTWIN_CLEAR = 3,
    /// After CLEAR: brings back the processes of set `set`. The next request, which is answered too, says that the files
    /// are back (GO), and then they and PID 1 go on, or that they cannot be (STAY).
    CTWIN_REVIVE = 4,
    /// Ends the twins of set `set`.
    CTWIN_DROP = 5,
    /// Stops all processes and notes what they are made of beside memory and descriptors (cnote.h); they stand still
    /// afterwards. Where they could be stopped that is said first, by a reply of its own; until the second they make
    /// calls and have a mapping that are not theirs.
    CTWIN_NOTE = 6,
    /// Has PID 1 of a fresh sandbox and those it makes follow the plan (crebuild.h) that lies at address `set` in the
    /// memory of who started the holder, up to its first stop: all but memory and rights. The reply
    /// has the pids, as for NOTE.
    CTWIN_REBUILD = 7,
    /// The rest of it; they stand still afterwards as they were saved, and GO lets them go on.
    CTWIN_REBUILD_END = 8,
    /// Ends what REBUILD made.
    CTWIN_REBUILD_DROP = 9,
    /// After REVIVE: nothing may go on.
    CTWIN_STAY = 10,
    /// Notes what the originals of set `set` were made of when it was made, as NOTE does; they run on.
    CTWIN_NOTE_SET = 11,
};

struct ctwin_request {
    uint32_t kind;
    /// The host's pid of the sandbox's PID 1.
    int32_t init;
    uint64_t set;
    /// The processor of who asks, which goes on working; -1 for none.
    int32_t asker, none;
};

enum { CTWIN_TOLD_PIDS = 256 };

enum ctwin_answer {
    CTWIN_DONE = 0,
    /// Nothing has changed, and `text` says why.
    CTWIN_REFUSED = 1,
    /// Something is half done: what runs in the sandbox is not to be trusted any more.
    CTWIN_BROKEN = 2,
    /// All processes stand still; another reply follows.
    CTWIN_HELD = 3,
};

struct ctwin_reply {
    uint32_t answer;
    /// Processes that were copied or brought back, PID 1 included.
    uint32_t processes;
    /// With CTWIN_REFUSED, whether that may be otherwise in a moment.
    uint32_t is_passing, none;
    /// After NOTE and NOTE_SET: where in the holder's memory the notes lie until it is asked again, in bytes.
    uint64_t notes, notes_size;
    union {
        char text[400];
        /// With CTWIN_HELD after NOTE, the host's pids of the first `processes` of them, PID 1's first.
        int32_t pids[CTWIN_TOLD_PIDS];
    };
};

/// Serves requests on the socket until its other end is closed. Never returns.
void ctwin_hold(int socket) __attribute__((noreturn));

#endif
