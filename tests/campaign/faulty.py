#!/usr/bin/python3
"""A directory, seen through FUSE, parts of which fail with EIO for as long as somebody says so.

    faulty.py REAL SEEN CONTROL

Shows REAL at SEEN, in the foreground, until that is unmounted. While there is a file CONTROL with the words HOW WHERE, what has a path that begins
with WHERE fails: to `read` (content), to `sync`, to `write` (content, names, metadata, and syncs), or `all`, even to be looked at.

Runs with Debian's Python, which is the one that has python3-fusepy.
"""

import errno
import os
import sys

from fusepy import FUSE, FuseOSError, Operations

LOOKS = {"access", "getattr", "open", "readdir", "readlink", "statfs"}
SYNCS = {"fsync", "fsyncdir"}
# What is open has to be let go of whatever happens.
ALWAYS = {"destroy", "flush", "init", "opendir", "release", "releasedir"}


class Faulty(Operations):
    use_ns = True

    def __init__(self, real, control):
        self.real, self.control = real, control

    def __call__(self, operation, path, *arguments):
        if operation not in ALWAYS and self.fails(operation, path):
            raise FuseOSError(errno.EIO)
        try:
            return getattr(self, operation)(self.real + path, *arguments)
        except OSError as error:
            raise FuseOSError(error.errno) from error

    def fails(self, operation, path):
        try:
            with open(self.control) as control:
                how, where = control.read().split()
        except FileNotFoundError:
            return False
        if not path.startswith(where):
            return False
        if how == "read":
            return operation == "read"
        if how == "sync":
            return operation in SYNCS
        return how == "all" or operation not in LOOKS | {"read"}

    def init(self, path):
        pass

    def destroy(self, path):
        pass

    def access(self, path, mode):
        if not os.access(path, mode):
            raise FuseOSError(errno.EACCES)

    def getattr(self, path, fh=None):
        facts = os.fstat(fh) if fh is not None else os.lstat(path)
        names = ("mode", "nlink", "uid", "gid", "size", "blocks", "ino")
        whole = {f"st_{name}": getattr(facts, f"st_{name}") for name in names}
        return whole | {f"st_{name}": getattr(facts, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(path)]

    def readlink(self, path):
        return os.readlink(path)

    def statfs(self, path):
        facts = os.statvfs(path)
        names = ("bavail", "bfree", "blocks", "bsize", "favail", "ffree", "files", "flag", "frsize", "namemax")
        return {f"f_{name}": getattr(facts, f"f_{name}") for name in names}

    def mkdir(self, path, mode):
        os.mkdir(path, mode)

    def rmdir(self, path):
        os.rmdir(path)

    def unlink(self, path):
        os.unlink(path)

    def mknod(self, path, mode, device):
        os.mknod(path, mode, device)

    # The new name comes first, here and in `link`; only the first is below `real` already.
    def symlink(self, path, target):
        os.symlink(target, path)

    def link(self, path, source):
        os.link(self.real + source, path, follow_symlinks=False)

    def rename(self, path, new):
        os.rename(path, self.real + new)

    def chmod(self, path, mode):
        os.chmod(path, mode)

    def chown(self, path, user, group):
        os.lchown(path, user, group)

    def utimens(self, path, times=None):
        os.utime(path, ns=times, follow_symlinks=False)

    def truncate(self, path, length, fh=None):
        os.truncate(fh if fh is not None else path, length)

    def create(self, path, mode, fi=None):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW))

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def flush(self, path, fh):
        pass

    def fsync(self, path, data_only, fh):
        os.fsync(fh)

    def fsyncdir(self, path, data_only, fh):
        pass

    def opendir(self, path):
        return 0

    def releasedir(self, path, fh):
        return 0

    def release(self, path, fh):
        os.close(fh)


if __name__ == "__main__":
    real, seen, control = map(os.path.abspath, sys.argv[1:])
    os.umask(0)
    FUSE(Faulty(real, control), seen, foreground=True, allow_other=True, use_ino=True, attr_timeout=0, entry_timeout=0)
