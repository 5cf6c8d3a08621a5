"""Makes every kind of file there is, and tells what is there as a manifest that can be compared.

fidelity.py make DELETE REPLACE   first generation; DELETE is a file of the base, REPLACE a directory of it
fidelity.py again                 second generation: changes what the first one made
fidelity.py wreck                 damages all of it
fidelity.py manifest PATH...      prints one line for each file under the paths
"""
import errno
import hashlib
import os
import shutil
import socket
import stat
import struct
import sys

top = b"/fidelity"
odd_names = [b"new\nline", b"\xff\xfe not utf-8", b"-rf", b"--help", b" ", b"...", b"a" * 255,
             b".wh.not-a-whiteout", b".wh..wh..opq", b"tab\there", "日本語".encode(), b"quote'\"$(x)`y`\\", b"*"]


def write(path, data=b"content\n", mode=None, owner=None):
    with open(path, "wb") as file:
        file.write(data)
    if owner:
        os.chown(path, *owner)
    if mode is not None:
        os.chmod(path, mode)


def attempt(action, *arguments):
    """Does what a sandbox may forbid; the manifest shows whether it was done."""
    try:
        action(*arguments)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def make(delete, replace):
    os.mkdir(top)
    os.chdir(top)
    os.unlink(delete)
    shutil.rmtree(replace)
    os.mkdir(replace, 0o711)
    write(os.path.join(replace, b"instead"))

    os.mkdir("names")
    for name in odd_names:
        write(b"names/" + name, name)
    os.mkdir(b"names/dir \xc3\x28\n")
    write(b"names/dir \xc3\x28\n/inner")

    os.mkdir("links")
    for number, target in enumerate([b"/etc/passwd", b"../names/-rf", b"nowhere", b"/" + b"x" * 4000, b"."]):
        os.symlink(target, b"links/symbolic%d" % number)
    write("links/hard1", b"one inode\n")
    os.link("links/hard1", "links/hard2")
    os.link("links/hard1", "names/hard3")
    os.link("links/symbolic2", "links/symbolic-twin", follow_symlinks=False)

    os.mkdir("special")
    os.mkfifo("special/fifo", 0o620)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("special/socket")
    os.chmod("special/socket", 0o4711)
    attempt(os.mknod, "special/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    attempt(os.mknod, "special/like-a-whiteout", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    attempt(os.mknod, "special/block", stat.S_IFBLK | 0o600, os.makedev(7, 99))

    os.mkdir("attributes")
    write("attributes/user")
    os.setxattr("attributes/user", "user.note", b"\0\xff binary")
    os.setxattr("attributes/user", "user.empty", b"")
    os.setxattr("attributes", "user.on-a-directory", b"yes")
    write("attributes/big")
    os.setxattr("attributes/big", "user.big", b"v" * 2000)
    write("attributes/capable", mode=0o755)
    attempt(os.setxattr, "attributes/capable", "security.capability",
            struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
    attempt(os.setxattr, "attributes/user", "trusted.note", b"trusted")
    write("attributes/acl")
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in [
        (1, 6, 0xffffffff), (2, 5, 33), (4, 4, 0xffffffff), (16, 5, 0xffffffff), (32, 0, 0xffffffff)])
    attempt(os.setxattr, "attributes/acl", "system.posix_acl_access", acl)

    os.mkdir("sparse")
    with open("sparse/file", "wb") as file:
        file.truncate(1 << 30)
        file.seek(500 << 20)
        file.write(b"island")
    with open("sparse/empty", "wb") as file:
        file.truncate(1 << 32)

    os.mkdir("modes")
    for mode in [0o000, 0o4755, 0o2755, 0o6711, 0o1777, 0o400]:
        write("modes/file%04o" % mode, mode=mode)
        os.mkdir("modes/dir%04o" % mode)
        os.chmod("modes/dir%04o" % mode, mode)
    for number, owner in enumerate([(33, 33), (65534, 65534), (1000, 1001), (101, 104)]):
        write("modes/owned%d" % number, mode=0o4750, owner=owner)
        os.mkdir("modes/owned-dir%d" % number)
        os.chown("modes/owned-dir%d" % number, *owner)
        os.symlink("anywhere", "modes/owned-link%d" % number)
        os.chown("modes/owned-link%d" % number, *owner, follow_symlinks=False)

    os.makedirs("deep/" + "/".join("level%d" % level for level in range(12)))
    os.mkdir("many")
    for number in range(300):
        write("many/%d" % number, b"%d\n" % number)
    os.mkdir("empty")
    old_times()


def old_times():
    """Times with odd nanoseconds everywhere, children before their parents."""
    number = 0
    for directory, directories, files in os.walk(top, topdown=False):
        for name in sorted(files + directories):
            number += 1
            time = (981_173_106 + number) * 10**9 + 123_456_789 + number
            os.utime(os.path.join(directory, name), ns=(time, time), follow_symlinks=False)
    os.utime(top, ns=(-1_500_000_001, -1_500_000_001))  # before 1970


def again():
    os.chdir(top)
    shutil.rmtree("many")
    os.mkdir("many")
    write("many/new")
    os.rename("names/-rf", "names/moved")
    os.unlink("links/hard1")
    with open("links/hard2", "ab") as file:
        file.write(b"appended\n")
    os.link("links/hard2", "links/hard4")
    os.unlink("special/fifo")
    write("special/fifo", b"a file in place of a FIFO")
    os.unlink("sparse/empty")
    os.mkdir("sparse/empty")
    shutil.move("deep", "elsewhere")
    os.rmdir("empty")
    os.symlink("/etc", "empty")
    os.removexattr("attributes/user", "user.note")
    os.chmod("modes/file0000", 0o604)
    os.chown("modes/owned0", 7, 7)
    os.truncate("sparse/file", 600 << 20)
    old_times()


def wreck():
    os.chdir(top)
    for name in ["names", "special", "many", "modes", "elsewhere", "deep"]:
        shutil.rmtree(name, ignore_errors=True)
    with open("links/hard2", "wb") as file:
        file.write(b"wrecked")
    os.unlink("links/symbolic1")
    os.setxattr("attributes/user", "user.note", b"wrecked")
    os.makedirs("deep/instead", exist_ok=True)
    with open("sparse/file", "r+b") as file:
        file.write(b"w" * 100)
    os.utime(top)


def describe(path, inodes):
    status = os.lstat(path)
    fields = [oct(status.st_mode), "%d:%d" % (status.st_uid, status.st_gid), "mtime=%d" % status.st_mtime_ns]
    if stat.S_ISREG(status.st_mode):
        fields += ["size=%d" % status.st_size, content(path, status.st_size)]
    elif stat.S_ISLNK(status.st_mode):
        fields.append("to=" + repr(os.readlink(path)))
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        fields.append("device=%d,%d" % (os.major(status.st_rdev), os.minor(status.st_rdev)))
    if not stat.S_ISDIR(status.st_mode):
        first = inodes.setdefault((status.st_dev, status.st_ino), path)
        fields.append("links=%d %s" % (status.st_nlink, "" if first == path else "same as " + repr(first)))
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        fields.append("%s=%r" % (name, os.getxattr(path, name, follow_symlinks=False)))
    return " ".join(fields)


def content(path, size):
    """The hash of what a file contains; a hole and written zeros are alike."""
    digest, offset, zeros = hashlib.sha256(), 0, bytes(4096)
    try:
        file = os.open(path, os.O_RDONLY)
    except PermissionError:
        return "unreadable"
    try:
        while offset < size:
            try:
                start = os.lseek(file, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break
            offset = os.lseek(file, start, os.SEEK_HOLE)
            for position in range(start, offset, 4096):
                block = os.pread(file, min(4096, offset - position), position)
                if block != zeros[:len(block)]:
                    digest.update(b"%d:" % position + block)
    finally:
        os.close(file)
    return digest.hexdigest()[:16]


def manifest(paths):
    inodes = {}
    for path in paths:
        device = os.lstat(path).st_dev
        print(repr(path), describe(path, inodes))
        for directory, directories, files in os.walk(path, onerror=lambda error: print("ERROR", error)):
            directories.sort()
            for name in sorted(directories + files):
                whole = os.path.join(directory, name)
                print(repr(whole), describe(whole, inodes))
            directories[:] = [d for d in directories
                              if os.lstat(os.path.join(directory, d)).st_dev == device]


arguments = [os.fsencode(a) for a in sys.argv[2:]]
{"make": lambda: make(*arguments), "again": again, "wreck": wreck,
 "manifest": lambda: manifest(arguments)}[sys.argv[1]]()
