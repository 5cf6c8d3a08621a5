"""Prints the names and build-ids in the files.img (criu-images/files.proto) whose path is the argument."""
import struct
import sys


def fields(message):
    position = 0
    while position < len(message):
        key, position = number(message, position)
        value, position = number(message, position)
        # Of a string or message that was its length.
        if key & 7 == 2:
            value, position = message[position:position + value], position + value
        yield key >> 3, value


def number(message, position):
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


with open(sys.argv[1], "rb") as file:
    image = file.read()
position = 8
lines = []
while position < len(image):
    length, = struct.unpack_from("<I", image, position)
    for field, regular in fields(image[position + 4:position + 4 + length]):
        if field == 3:
            told = list(fields(regular))
            lines.append(f"{dict(told)[6].decode()} {[value for field, value in told if field == 11]}")
    position += 4 + length
print(*sorted(set(lines)), sep="\n")
