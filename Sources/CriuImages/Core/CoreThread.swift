import CCriuImages

/// One thread as a core file tells it: `core-TID.img` in the kernel's own structures.
struct CoreThread {
    let id: Int32
    /// In the order of struct user_regs_struct (arch/x86/include/asm/user_64.h).
    let registers: [UInt64]
    /// struct fxregs_state, 512 bytes; for NT_X86_XSTATE with what the processor has beyond it.
    let fxsave: [UInt8]
    let xsave: [UInt8]
    let blocked: UInt64
    let uid: UInt32
    let gid: UInt32
}

extension ImageDirectory {
    /// Reads a thread's registers; only x86-64 ones are known.
    func coreThread(_ id: Int32) throws(CriuImageError) -> CoreThread {
        let file = try file("core-\(id).img", .core)
        return try file.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
            message throws(CriuImageError) in
            guard let information = message.pointee.thread_info?.pointee,
                let general = information.gpregs?.pointee, let floating = information.fpregs?.pointee
            else { throw CriuImageError(file.name, entry: 0, "has no x86-64 registers") }
            let thread = message.pointee.thread_core?.pointee
            let credentials = thread?.creds?.pointee
            let fxsave = FloatingPoint.fxsave(floating)
            return CoreThread(
                id: id, registers: general.inKernelOrder, fxsave: fxsave,
                xsave: FloatingPoint.xsave(fxsave, floating.xsave?.pointee),
                blocked: thread?.blk_sigset ?? message.pointee.tc?.pointee.blk_sigset ?? 0,
                uid: credentials?.uid ?? 0, gid: credentials?.gid ?? 0)
        }
    }
}

extension UserX86RegsEntry {
    fileprivate var inKernelOrder: [UInt64] {
        [
            r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss,
            fs_base, gs_base, ds, es, fs, gs,
        ]
    }
}

/// The layouts of FXSAVE and XSAVE (Intel SDM volume 1, chapters 10 and 13; standard format).
private enum FloatingPoint {
    /// Where components begin: the AVX halves, the AVX-512 masks, upper halves and upper registers, and PKRU.
    static let avx = 576, masks = 1088, upperHalves = 1152, upperRegisters = 1664, keys = 2688
    /// Where Linux notes which components an area may have (arch/x86/include/uapi/asm/sigcontext.h, sw_reserved).
    static let featuresOffset = 464

    static func fxsave(_ state: UserX86FpregsEntry) -> [UInt8] {
        var bytes = Bytes()
        for word in [state.cwd, state.swd, state.twd, state.fop] {
            bytes.put(UInt16(truncatingIfNeeded: word))
        }
        bytes.put(state.rip)
        bytes.put(state.rdp)
        bytes.put(state.mxcsr)
        bytes.put(state.mxcsr_mask)
        for word in exactly(32, numbers(state.st_space, state.n_st_space)) { bytes.put(word) }
        for word in exactly(64, numbers(state.xmm_space, state.n_xmm_space)) { bytes.put(word) }
        bytes.pad(to: 512)
        return bytes.bytes
    }

    static func xsave(_ fxsave: [UInt8], _ state: UserX86XsaveEntry?) -> [UInt8] {
        let halves = numbers(state?.ymmh_space, state?.n_ymmh_space ?? 0)
        let wide = numbers(state?.zmm_upper, state?.n_zmm_upper ?? 0)
        let protection = numbers(state?.pkru, state?.n_pkru ?? 0)
        // x87 and SSE are always there; then AVX, AVX-512 (three components) and protection keys.
        var features: UInt64 = 3
        if !halves.isEmpty { features |= 1 << 2 }
        if !wide.isEmpty { features |= 7 << 5 }
        if !protection.isEmpty { features |= 1 << 9 }
        var bytes = Bytes(fxsave)
        bytes.set(features, at: featuresOffset)
        bytes.put((state?.xstate_bv ?? 3) & features)
        bytes.pad(to: avx)
        for word in exactly(64, halves) { bytes.put(word) }
        guard features >> 5 != 0 else { return bytes.bytes }
        bytes.pad(to: masks)
        for word in exactly(8, numbers(state?.opmask_reg, state?.n_opmask_reg ?? 0)) { bytes.put(word) }
        bytes.pad(to: upperHalves)
        for word in exactly(64, wide) { bytes.put(word) }
        bytes.pad(to: upperRegisters)
        for word in exactly(128, numbers(state?.hi16_zmm, state?.n_hi16_zmm ?? 0)) { bytes.put(word) }
        guard let key = protection.first else { return bytes.bytes }
        bytes.pad(to: keys)
        bytes.put(key)
        bytes.pad(to: keys + 8)
        return bytes.bytes
    }

    /// The field of that many elements, with zeros for those that are missing.
    private static func exactly<Number: FixedWidthInteger>(_ count: Int, _ values: [Number]) -> [Number] {
        Array(values.prefix(count)) + [Number](repeating: 0, count: max(count - values.count, 0))
    }
}

/// A structure as it grows, little-endian.
struct Bytes {
    private(set) var bytes: [UInt8]
    init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    mutating func put(_ number: some FixedWidthInteger) {
        withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
    }

    mutating func put(_ more: [UInt8]) { bytes += more }

    /// A field of fixed length that ends with a NUL.
    mutating func put(_ text: some Sequence<UInt8>, length: Int) {
        let kept = Array(text.prefix(length - 1))
        bytes += kept
        bytes += [UInt8](repeating: 0, count: length - kept.count)
    }

    mutating func set(_ number: UInt64, at offset: Int) {
        withUnsafeBytes(of: number.littleEndian) { bytes.replaceSubrange(offset..<offset + 8, with: $0) }
    }

    mutating func pad(to length: Int) {
        if bytes.count < length { bytes += [UInt8](repeating: 0, count: length - bytes.count) }
    }

    /// Up to the next multiple.
    mutating func align(_ multiple: Int) { pad(to: (bytes.count + multiple - 1) / multiple * multiple) }
}
