// Mutates real image files and reads them, as often as told: image-fuzzer IMAGES SCRATCH SEED COUNT
//
// IMAGES is a directory that a dump wrote; SCRATCH an empty one, on a tmpfs to be quick. Whatever a mutation makes of a
// file there is an answer or a CriuImageError with a file and a reason. Anything else ends the program: a trap of Swift's, a
// report of AddressSanitizer, a leak. SCRATCH/progress says which mutation it was; the same seed makes the same.
import CriuImages
import Glibc
import LinuxSystem

let words = CommandLine.arguments
guard words.count == 5, let seed = UInt64(words[3]), let count = Int(words[4]) else {
    print("usage: image-fuzzer IMAGES SCRATCH SEED COUNT")
    exit(2)
}
do {
    var fuzzing = try Fuzzing(images: words[1], scratch: words[2], seed: seed)
    try fuzzing.run(count)
    print("\(count) mutations: \(fuzzing.refused) refused, \(fuzzing.read) read")
} catch {
    print("image-fuzzer: \(error)")
    exit(1)
}
