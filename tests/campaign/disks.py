"""Small filesystems that fill up, become read-only or vanish, seen by this process and its children alone.

Owns: mounts in a namespace of their own. Does not know: kiln.
"""

import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from common import cannot, demand, need

MIB = 1024 * 1024
# _IOR('X', 125, __u32): `EXT4_IOC_SHUTDOWN`; 2 is without writing anything more, not even the journal.
SHUTDOWN, AT_ONCE = 0x8004587D, 2
# A disk as those below, in the directory $1.
TRY = 'mkdir "$1/disk"; truncate -s 8M "$1/image"; mkfs.ext4 -q "$1/image"; mount -o loop "$1/image" "$1/disk"; umount "$1/disk"'
# Programs of sbin, which not everybody has in PATH, are used here.
os.environ["PATH"] += ":/usr/sbin:/sbin"


def in_own_namespace():
    """Starts this script again where mounts are nobody else's: they go with it, however it ends."""
    if os.environ.get("KILN_CAMPAIGN_NAMESPACE") == str(os.getppid()):
        return
    need("util-linux", "mount", "e2fsprogs")
    apart = ["unshare", "--mount", "--propagation", "private", "--"]
    with tempfile.TemporaryDirectory() as space:
        tried = subprocess.run([*apart, "sh", "-ec", TRY, "sh", space], capture_output=True, text=True)
    if tried.returncode != 0:
        cannot(f"no filesystem can be mounted: {tried.stderr.strip()}")
    inner = dict(os.environ, KILN_CAMPAIGN_NAMESPACE=str(os.getpid()))
    child = subprocess.Popen([*apart, sys.executable, *sys.argv], env=inner)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(child.wait())


# In this order.
MOUNTED = []


def unmount_all():
    while MOUNTED:
        sh("umount", MOUNTED.pop())


class Disk:
    """A filesystem on a directory: `tmpfs`, or `ext4` in an image file. With an image (for tmpfs just a name) it can be filled, out of sight."""

    def __init__(self, place, kind, mebibytes, inodes, image=None):
        self.place, self.kind, self.image = Path(place), kind, image
        # What fills it is not below the place, where somebody may take all that there is for his own.
        self.whole = image.with_name(f"{image.name}.whole") if image else self.place
        for directory in (self.place, self.whole):
            directory.mkdir(parents=True, exist_ok=True)
        self.command = ["mount", "-o", "loop", self.image]
        if kind == "tmpfs":
            self.command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,nr_inodes={inodes},mode=755", "none"]
        else:
            with self.image.open("wb") as file:
                file.truncate(mebibytes * MIB)
            sh("mkfs.ext4", "-q", "-m", "0", "-N", str(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        self.mount()

    def mount(self):
        sh(*self.command, self.whole)
        MOUNTED.append(self.whole)
        if self.whole != self.place:
            (self.whole / "shown").mkdir(exist_ok=True)
            sh("mount", "--bind", self.whole / "shown", self.place)
            MOUNTED.append(self.place)

    def unmount(self):
        for place in dict.fromkeys((self.place, self.whole)):
            sh("umount", place)
            MOUNTED.remove(place)

    @property
    def filler(self):
        return self.whole / "filler"

    def fill(self, left):
        """Until only so many bytes are left. The room is taken, not written: that is quick."""
        facts = os.statvfs(self.place)
        size = max(0, facts.f_bavail * facts.f_frsize - left)
        with self.filler.open("wb") as file:
            while size > 0:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                    return
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    # Somebody else was quicker, or the filesystem's own needs were more.
                    size = size // 2 if size > 4096 else 0

    def fill_inodes(self, left):
        self.filler.mkdir()
        count = max(0, os.statvfs(self.place).f_favail - left)
        with contextlib.suppress(OSError):
            for number in range(count):
                (self.filler / str(number)).touch()

    def empty(self):
        if self.filler.is_dir():
            for file in self.filler.iterdir():
                file.unlink()
            self.filler.rmdir()
        else:
            self.filler.unlink(missing_ok=True)

    def read_only(self):
        """Whether it could be made so: not while a file is open to be written."""
        return subprocess.run(["mount", "-o", "remount,ro", self.whole], capture_output=True).returncode == 0

    def writable(self):
        sh("mount", "-o", "remount,rw", self.whole)

    def vanish(self):
        """From now on everything fails with EIO (ext4 alone); what was not on disk yet is lost, as in a power cut."""
        directory = os.open(self.place, os.O_RDONLY)
        fcntl.ioctl(directory, SHUTDOWN, struct.pack("I", AT_ONCE))
        os.close(directory)

    def return_again(self):
        """After it had vanished; nobody may have a file open there."""
        self.unmount()
        self.mount()


def sh(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    demand(done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr.strip()}")
