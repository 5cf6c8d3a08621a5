import hashlib, mmap, os

block = bytearray(os.urandom(48 << 20))
maps = [mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(4)]
for number, each in enumerate(maps):
    each.write(os.urandom(8 << 20))


def digest():
    whole = hashlib.sha256(block)
    for each in maps:
        whole.update(each[:])
    return whole.hexdigest()


def short(data):
    return hashlib.sha256(data).hexdigest()[:8]


def play():
    said = []
    # A child sees what is missing at its birth, whatever its parent does then, and the other way round.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        block[5 << 20] ^= 255
        os.write(writer, (short(block[4 << 20 : 9 << 20]) + short(maps[1][: 1 << 20])).encode())
        os._exit(0)
    block[6 << 20] ^= 255
    said.append(os.read(reader, 64).decode())
    os.waitpid(child, 0)
    said.append(short(block[4 << 20 : 9 << 20]))
    # What is given back is zero, and what lies beside it is not.
    maps[0].madvise(mmap.MADV_DONTNEED, 1 << 20, 2 << 20)
    said.append(str(maps[0][1 << 20 : 3 << 20].count(0) == 2 << 20) + short(maps[0][: 4 << 20]))
    # It moves, or grows where it is.
    maps[1].resize(64 << 20)
    said.append(short(maps[1][: 8 << 20]) + str(maps[1][8 << 20 :].count(0) == 56 << 20))
    maps[2].resize(4 << 20)
    said.append(short(maps[2][:]))
    # Its place is another's.
    maps.pop().close()
    other = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    said.append(str(other[:].count(0) == 8 << 20))
    # The kernel reads and writes for a system call.
    with open("/root/written", "wb+") as file:
        os.write(file.fileno(), memoryview(block)[30 << 20 : 32 << 20])
        file.seek(0)
        os.readv(file.fileno(), [memoryview(block)[40 << 20 : 42 << 20]])
    said.append(short(block[30 << 20 : 32 << 20]) + short(block[39 << 20 : 43 << 20]))
    return " ".join(said)
