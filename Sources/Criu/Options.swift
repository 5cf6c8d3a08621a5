import CCriuImages

/// The options that every dump and every restore has in common; docs/criu.md gives the reasons.
enum Options {
    /// The largest deleted file that is taken along, in bytes; CRIU's own default of 1 MiB is too little for a
    /// database's temporary files.
    static let ghostLimit: UInt32 = 1 << 30

    /// Sets what does not depend on the request. `images` and `work` are descriptors of this process.
    static func common(_ options: inout CriuOpts, images: Int32, work: Int32, log: String) {
        options.images_dir_fd = images
        options.has_work_dir_fd = 1
        options.work_dir_fd = work
        options.log_file = cString(log)
        // Errors and warnings: at level 0 the reason of a failure is lost, and level 4 costs a millisecond.
        options.has_log_level = 1
        options.log_level = 2
        options.has_notify_scripts = 1
        options.notify_scripts = 1
        options.has_manage_cgroups_mode = 1
        options.manage_cgroups_mode = CRIU_CG_MODE__IGNORE
        options.has_network_lock = 1
        options.network_lock = CRIU_NETWORK_LOCK_METHOD__SKIP
        options.has_tcp_established = 1
        options.tcp_established = 1
        options.has_file_locks = 1
        options.file_locks = 1
        options.has_link_remap = 1
        options.link_remap = 1
        options.has_ghost_limit = 1
        options.ghost_limit = ghostLimit
        options.has_orphan_pts_master = 1
        options.orphan_pts_master = 1
    }

    /// Has TCP connections saved, and restored, as closed; what was saved so must be restored so (criu/image.c).
    static func closeConnections(_ options: inout CriuOpts) {
        options.has_tcp_close = 1
        options.tcp_close = 1
    }

    /// Sets the objects that come from outside the tree, as CRIU spells them, for example `mnt[/dev]:dev`.
    static func external(_ entries: [String], in options: inout CriuOpts) {
        options.n_external = entries.count
        options.external = cStrings(entries)
    }
}
