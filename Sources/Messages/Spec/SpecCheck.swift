extension SandboxSpec {
    /// Whether its values are in range and fit each other; throws `badValue` that names the first that is not.
    ///
    /// What only this machine can tell (a missing directory, a limit without a controller) comes later.
    public func check() throws(ErrorMessage) {
        try checkProcessOptions()
        try checkPlaces()
        try limits.check()
        try security.check()
        if !ports.isEmpty, net != .nat {
            throw ErrorMessage(
                .badValue, "ports are forwarded only into a sandbox with a network of its own and a way out",
                hint: "--net nat")
        }
        if security.allowPorts != nil, net == .host {
            throw ErrorMessage(
                .badValue, "the ports of the host's network cannot be limited for one sandbox",
                hint: "--net nat, or no --allow-port")
        }
        if !sysctls.isEmpty, net == .host {
            throw ErrorMessage(
                .badValue, "the kernel parameters of the host's network are not a sandbox's to set",
                hint: "--net none or nat, or no --sysctl")
        }
        if let name = firstRepeated(sysctls.map(\.path)) {
            throw ErrorMessage(.badValue, "the kernel parameter net/\(name) is given twice")
        }
        let taken = ports.filter { $0.hostPort != nil }.map {
            "\($0.address ?? "")/\($0.hostPort!)/\($0.transport)"
        }
        if let twice = firstRepeated(taken) {
            throw ErrorMessage(
                .badValue, "the host's port \(twice.split(separator: "/")[0]) is forwarded twice")
        }
    }

    private func checkProcessOptions() throws(ErrorMessage) {
        for (key, value) in env where key.isEmpty || key.contains("=") || (key + value).utf8.contains(0) {
            throw ErrorMessage(.badValue, "\"\(key)\" is no name for an environment variable")
        }
        if let hostname, hostname.isEmpty || hostname.utf8.count > 64 || hostname.utf8.contains(0) {
            throw ErrorMessage(.badValue, "the host name must have 1 to 64 bytes")
        }
        if let workdir, !workdir.hasPrefix("/") || workdir.utf8.contains(0) {
            throw ErrorMessage(.badValue, "the working directory \(workdir) is not absolute")
        }
        if let user, user.isEmpty || user.utf8.contains(0) {
            throw ErrorMessage(.badValue, "the user is empty", hint: "name, uid, name:group or uid:gid")
        }
        if let oomScoreAdj, !(-1000...1000).contains(oomScoreAdj) {
            throw ErrorMessage(.badValue, "an OOM score of \(oomScoreAdj)", hint: "-1000 to 1000")
        }
        if let name = firstRepeated(ulimits.map(\.name)) {
            throw ErrorMessage(.badValue, "the limit \(name) is given twice")
        }
    }

    /// The places inside that something of ours is mounted on.
    private func checkPlaces() throws(ErrorMessage) {
        var places = volumes.map(\.path) + tmpfs.map(\.path)
        if shmSize != nil { places.append("/dev/shm") }
        if let place = firstRepeated(places) {
            throw ErrorMessage(
                .badValue, "two things are mounted on \(place)", hint: "choose another path for one of them")
        }
        let ours = ["/proc", "/sys", "/.ckpt"]
        for place in places {
            if place == "/dev" || ours.contains(where: { place == $0 || place.hasPrefix($0 + "/") }) {
                throw ErrorMessage(
                    .badValue, "nothing can be mounted on \(place): ckpt keeps it in order itself",
                    hint: "choose another path inside")
            }
        }
    }
}

/// The first of the values that was there before.
private func firstRepeated(_ values: [String]) -> String? {
    var seen: Set<String> = []
    return values.first { !seen.insert($0).inserted }
}
