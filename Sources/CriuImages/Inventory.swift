import CCriuImages

/// Which namespaces a process or the CRIU worker was in: equal numbers mean the same namespace, 0 an unknown one.
public struct NamespaceNumbers: Equatable, Sendable {
    public var network: UInt32
    public var user: UInt32
    public var cgroup: UInt32
}

/// What `inventory.img` says about a dump as a whole.
public struct Inventory: Equatable, Sendable {
    /// CRIU's number of the image format; CRIU 4.2 writes 2.
    public let imageVersion: UInt32
    /// The namespaces of the CRIU worker that dumped; a restore creates those in which the tree differs.
    public let worker: NamespaceNumbers
}

extension ImageDirectory {
    /// A number of a network namespace that no task can have: CRIU counts namespaces up from 1.
    public static let unusedNamespace: UInt32 = 0xffff_fff0

    /// Reads `inventory.img`.
    public func inventory() throws(CriuImageError) -> Inventory {
        let file = try file("inventory.img", .inventory)
        _ = try file.onlyEntry()
        return try file.decode(0, inventory_entry__unpack, inventory_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let ids = entry.pointee.root_ids?.pointee else {
                throw CriuImageError(file.name, entry: 0, "does not say which namespaces the worker was in")
            }
            return Inventory(
                imageVersion: entry.pointee.img_version,
                worker: NamespaceNumbers(
                    network: ids.net_ns_id, user: ids.user_ns_id, cgroup: ids.cgroup_ns_id))
        }
    }

    /// Makes a restore give the tree a network namespace of its own, and those of `names` where they are given.
    ///
    /// A worker that dumps from inside the tree's namespaces takes them for its own and dumps nothing of
    /// them; a restore would then leave the tree in the restoring worker's. CRIU decides by comparing two numbers
    /// (criu/pstree.c, `get_clone_mask`), so the worker's becomes one that no task has. Restore such an image
    /// with `empty_ns` of the network, for there is nothing to fill the new namespace with. Doing it twice changes nothing.
    public func giveTreeItsOwnNetwork(and names: LeftNames? = nil) throws(CriuImageError) {
        var file = try file("inventory.img", .inventory)
        _ = try file.onlyEntry()
        let name = file.name
        var numbers = NameNumbers()
        try file.edit(0, inventory_entry__unpack, inventory_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let ids = entry.pointee.root_ids else {
                throw CriuImageError(name, entry: 0, "does not say which namespaces the worker was in")
            }
            ids.pointee.has_net_ns_id = 1
            ids.pointee.net_ns_id = Self.unusedNamespace
            if names == nil { return }
            numbers = NameNumbers(
                hostname: ids.pointee.uts_ns_id, interprocess: ids.pointee.ipc_ns_id,
                clocks: ids.pointee.time_ns_id)
            (ids.pointee.has_uts_ns_id, ids.pointee.uts_ns_id) = (1, Self.unusedNamespace)
            (ids.pointee.has_ipc_ns_id, ids.pointee.ipc_ns_id) = (1, Self.unusedNamespace)
            (ids.pointee.has_time_ns_id, ids.pointee.time_ns_id) = (1, Self.unusedNamespace)
        }
        if let names, numbers.hostname != Self.unusedNamespace { try write(names, numbers) }
        try replace(file)
    }
}
