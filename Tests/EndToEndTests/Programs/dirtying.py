# Memory that changes a little at a time; its digest is made inside. Usage: python3 -iqu dirtying.py MIB
import hashlib
import random
import sys

SIZE = int(sys.argv[1]) << 20
PAGES = SIZE // 4096
memory = bytearray(SIZE)
fill = random.Random(1)
for start in range(0, SIZE, 1 << 20):
    memory[start : start + (1 << 20)] = fill.randbytes(1 << 20)
choose = random.Random(7)


def dirty(share=100):
    """Changes eight bytes in one page of `share`."""
    for page in choose.sample(range(PAGES), PAGES // share):
        at = page * 4096 + choose.randrange(4088)
        memory[at : at + 8] = choose.randbytes(8)


def digest():
    return hashlib.blake2b(memory, digest_size=8).hexdigest()
