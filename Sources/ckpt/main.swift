import CLinux
import Glibc

// What fills the memory of a sandbox is a process of its own, which the server starts; see MemoryFilling.
if CommandLine.arguments.dropFirst().first == "__pager" { exit(clinux_pager_run(3)) }
exit(runTool(Array(CommandLine.arguments.dropFirst())))
