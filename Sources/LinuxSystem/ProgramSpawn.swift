public import Glibc

/// Starts a program of the system, in a session of its own, with nothing of ours but an open file for its stderr
/// (posix_spawn(3)). The caller reaps it.
///
/// `words` are its path and its arguments; what it prints goes nowhere, and what it says on stderr to `errors`.
public func spawnProgram(_ words: [String], errors: String) throws(SystemError) -> Int32 {
    try spawnProgram(words) { actions in
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    }
}

/// The same with what it prints and says wherever `output` has descriptors 1 and 2 lead.
public func spawnProgram(
    _ words: [String], output: (inout posix_spawn_file_actions_t) -> Void
) throws(SystemError) -> Int32 {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    let argv = words.map { strdup($0) } + [nil]
    let variables: [String] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
    let environment = variables.map { strdup($0) } + [nil]
    defer {
        posix_spawn_file_actions_destroy(&actions)
        posix_spawnattr_destroy(&attributes)
        (argv + environment).forEach { free($0) }
    }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    output(&actions)
    posix_spawn_file_actions_addclosefrom_np(&actions, 3)
    var (all, none) = (sigset_t(), sigset_t())
    sigfillset(&all)
    sigemptyset(&none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(
        &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSID))
    var pid: Int32 = 0
    let code = posix_spawn(&pid, words[0], &actions, &attributes, argv, environment)
    if code != 0 { throw SystemError(call: "posix_spawn", code: code, subject: words[0]) }
    return pid
}
