import CCriuImages

/// The registers of a thread by their names, as gdb calls them, in hexadecimal.
enum RegisterNames {
    static func general(_ registers: UserX86RegsEntry) -> [String: String] {
        let values: KeyValuePairs = [
            "rax": registers.ax, "rbx": registers.bx, "rcx": registers.cx, "rdx": registers.dx,
            "rsi": registers.si, "rdi": registers.di, "rbp": registers.bp, "rsp": registers.sp,
            "r8": registers.r8, "r9": registers.r9, "r10": registers.r10, "r11": registers.r11,
            "r12": registers.r12, "r13": registers.r13, "r14": registers.r14, "r15": registers.r15,
            "rip": registers.ip, "eflags": registers.flags, "orig_rax": registers.orig_ax,
            "cs": registers.cs, "ss": registers.ss, "ds": registers.ds, "es": registers.es,
            "fs": registers.fs, "gs": registers.gs, "fs_base": registers.fs_base,
            "gs_base": registers.gs_base,
        ]
        return Dictionary(uniqueKeysWithValues: values.map { ($0.key, hexadecimal($0.value)) })
    }

    /// x87, SSE, AVX and AVX-512 state; vector registers at the width that was saved.
    static func floatingPoint(_ state: UserX86FpregsEntry) -> [String: String] {
        var found = [
            "fctrl": hexadecimal(UInt64(state.cwd)), "fstat": hexadecimal(UInt64(state.swd)),
            "ftag": hexadecimal(UInt64(state.twd)), "fop": hexadecimal(UInt64(state.fop)),
            "mxcsr": hexadecimal(UInt64(state.mxcsr)),
        ]
        let stack = numbers(state.st_space, state.n_st_space)
        for index in 0..<min(8, stack.count / 4) {
            // 80 bits of 128 are used.
            found["st\(index)"] = wide(stack[(index * 4)..<(index * 4 + 3)])
        }
        let low = numbers(state.xmm_space, state.n_xmm_space)
        let extended = state.xsave?.pointee
        let high = numbers(extended?.ymmh_space, extended?.n_ymmh_space ?? 0)
        for index in 0..<min(16, low.count / 4) {
            let lane = (index * 4)..<(index * 4 + 4)
            found["xmm\(index)"] = wide(low[lane])
            if high.count >= lane.upperBound { found["ymm\(index)"] = wide(low[lane] + high[lane]) }
        }
        if let extended { addWidest(extended, low: low, high: high, to: &found) }
        return found
    }

    private static func addWidest(
        _ extended: UserX86XsaveEntry, low: [UInt32], high: [UInt32], to found: inout [String: String]
    ) {
        found["xstate_bv"] = hexadecimal(extended.xstate_bv)
        for (index, mask) in numbers(extended.opmask_reg, extended.n_opmask_reg).enumerated().prefix(8) {
            found["k\(index)"] = hexadecimal(mask)
        }
        let upper = numbers(extended.zmm_upper, extended.n_zmm_upper)
        for index in 0..<min(16, upper.count / 4)
        where high.count >= index * 4 + 4 && low.count >= index * 4 + 4 {
            let lane = (index * 4)..<(index * 4 + 4)
            found["zmm\(index)"] = wide(low[lane] + high[lane] + halves(upper[lane]))
        }
        let rest = numbers(extended.hi16_zmm, extended.n_hi16_zmm)
        for index in 0..<min(16, rest.count / 8) {
            found["zmm\(index + 16)"] = wide(ArraySlice(halves(rest[(index * 8)..<(index * 8 + 8)])))
        }
        if let keys = numbers(extended.pkru, extended.n_pkru).first {
            found["pkru"] = hexadecimal(UInt64(keys))
        }
    }

    private static func halves(_ words: ArraySlice<UInt64>) -> [UInt32] {
        words.flatMap { [UInt32(truncatingIfNeeded: $0), UInt32(truncatingIfNeeded: $0 >> 32)] }
    }

    /// Words, lowest first, as one number.
    private static func wide(_ words: ArraySlice<UInt32>) -> String {
        let digits = words.reversed().map { word in
            let text = String(word, radix: 16)
            return String(repeating: "0", count: 8 - text.count) + text
        }
        let all = digits.joined().drop { $0 == "0" }
        return "0x" + (all.isEmpty ? "0" : all)
    }
}
