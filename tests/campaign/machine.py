"""A machine whose power can be cut: QEMU boots kiln on a disk of its own, and logs what is written there, in order.

Owns: the guest's files, how it is started, the log of writes (the format of Linux's dm-log-writes, which QEMU's blklogwrites
writes) and which disks a cut can leave. Does not know: what a definition is, what is right.
"""

import os
import re
import shutil
import struct
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import common

SECTOR = 512
# Small, so that things move: the journal is written over again and again.
FILESYSTEM_BYTES = 160 << 20
JOURNAL_MIB = 4
# What the guest publishes goes behind the filesystem (see `init`).
SLOTS_BYTES = 64 << 20
SLOT_SECTORS = 65536 // SECTOR
# Of what `init` hands over.
HANDED_OVER_BYTES = 512 << 20
BOOT_SECONDS = 900

FLUSH, FUA, DISCARD = 1, 2, 4
MAGIC = 0x6A736677736872


class Habit(NamedTuple):
    """When the kernel writes what nobody has asked it to: of ext4, and of the page cache (hundredths of a second)."""

    options: str
    writeback: int

    def __str__(self):
        return f"{self.options}, writeback {self.writeback / 100} s"


# As kernels are; eager, so that much is under way at any moment.
HABITS = (Habit("rw", 500), Habit("rw", 10), Habit("commit=1", 500), Habit("commit=1", 10))


class Machine:
    """Everything that its boots share, below `space`."""

    def __init__(self, space, kiln, definition, memory=768):
        """`definition`: what the guest has as /definition."""
        self.space, self.memory = Path(space), memory
        common.need("qemu-system-x86", "seabios", "busybox-static", "e2fsprogs", "binutils")
        kernel = subprocess.run([common.ROOT / "packaging/kernel"], stdout=subprocess.PIPE, text=True)
        if kernel.returncode != 0:
            common.cannot("there is no kernel for the guest")
        debian = Path(kernel.stdout.strip())
        [self.kernel] = debian.glob("boot/vmlinuz-*")
        self.initrd = self.make_initrd(debian, kiln, definition)

    def make_initrd(self, debian, kiln, definition):
        root = self.space / "root"
        for name in ("bin", "dev", "proc", "sys", "tmp", "run", "disk", "lib", "etc"):
            (root / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "bin/busybox")
        shutil.copy(Path(__file__).parent / "init", root / "init")
        # Or a static busybox loads libraries that are not there, and does not outlive it.
        (root / "etc/nsswitch.conf").write_text("".join(f"{name}: files\n" for name in ("passwd", "group", "hosts", "services")))
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
        for module in debian.glob("lib/modules/**/*.ko"):
            shutil.copy(module, root / "lib")
        subprocess.run(["strip", "-o", root / "bin/kiln", kiln], check=True)
        libraries = subprocess.run(["ldd", kiln], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, root / library[1:])
        shutil.copytree(definition, root / "definition")
        names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
        initrd = self.space / "initrd"
        with initrd.open("wb") as out:
            subprocess.run(["busybox", "cpio", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names.encode(), stdout=out,
                           stderr=subprocess.DEVNULL, check=True)  # fmt: skip
        shutil.rmtree(root)
        return initrd

    def empty_disk(self, path):
        """As it is before anything was built."""
        sparse(path, FILESYSTEM_BYTES + SLOTS_BYTES)
        options = ["-q", "-F", "-J", f"size={JOURNAL_MIB}", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]
        # Of sbin, which not everybody has in PATH.
        path_of = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")
        subprocess.run(["mkfs.ext4", *options, path, f"{FILESYSTEM_BYTES >> 10}k"], env=path_of, check=True)
        return path

    def boot(self, disk, first, habit, name):
        """From this disk, which stays as it is, to the end of what `init` does."""
        made = self.space / name
        made.mkdir()
        work, log, found, left, console = (made / file for file in ("work", "log", "found", "left", "console"))
        copy(disk, work)
        sparse(log, 0)
        sparse(found, HANDED_OVER_BYTES)
        sparse(left, HANDED_OVER_BYTES)
        plain = "cache.no-flush=on,cache.direct=off"
        command = ["qemu-system-x86_64", "-M", "pc", "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(self.memory)]
        command += ["-display", "none", "-monitor", "none", "-serial", f"file:{console}", "-nic", "none", "-no-reboot"]
        command += ["-kernel", self.kernel, "-initrd", self.initrd]
        words = f"first={first} options={habit.options} writeback={habit.writeback} behind={FILESYSTEM_BYTES}"
        command += ["-append", f"console=ttyS0 quiet panic=-1 {words}"]
        command += ["-blockdev", f"driver=file,node-name=work,filename={work},{plain}"]
        command += ["-blockdev", f"driver=file,node-name=log,filename={log},{plain}"]
        command += ["-blockdev", "driver=blklogwrites,node-name=logged,file=work,log=log"]
        command += ["-device", "virtio-blk-pci,drive=logged,discard=off,write-zeroes=off"]
        for file in (found, left):
            command += ["-drive", f"if=virtio,format=raw,cache=unsafe,file={file}"]
        subprocess.run(command, stdin=subprocess.DEVNULL, timeout=BOOT_SECONDS, check=True)
        work.unlink()
        return Boot(disk, made, first, habit)


class Boot:
    """What one boot has left behind."""

    def __init__(self, disk, made, first, habit):
        self.disk, self.made, self.first, self.habit = disk, made, first, habit
        self.console = (made / "console").read_text(errors="replace").replace("\r", "")
        self.found, self.left = unpack(made / "found"), unpack(made / "left")
        self.log = Log(made / "log")
        self.published = [mark for mark in self.log.marks if mark.text.startswith("scrape ")]

    def exit_codes(self):
        return {int(run): int(code) for run, code in re.findall(r"^init: run (\d) ended with exit code (\d+)$", self.console, re.M)}

    def mounted(self):
        return "init: run" in self.console

    def remove(self):
        """With the disk that it was started from, if no other is."""
        shutil.rmtree(self.made)
        if self.disk.name != "empty":
            self.disk.unlink()


@dataclass
class Mark:
    """Published when so many writes were under way."""

    at: int
    text: str


@dataclass
class Write:
    sector: int
    count: int
    flags: int
    # Of its data in the log.
    offset: int


@dataclass
class Cut:
    """What a disk is after it."""

    moment: int
    flush: int
    unflushed: int = 0
    kept: int = 0
    torn: int = 0
    marks: list = field(default_factory=list)

    def __str__(self):
        return (
            f"before write {self.moment}, of definition {self.run()}; {self.kept} of {self.unflushed} writes "
            f"after the last flush are there, {self.torn} torn"
        )

    def run(self):
        """Which of the two definitions was being built."""
        return max(int(mark.text.split()[1]) for mark in self.marks)

    def scrape(self):
        """The last one before it."""
        return next((mark.text for mark in reversed(self.marks) if mark.text.startswith("scrape ")), "")


class Log:
    def __init__(self, path):
        self.path, self.writes, self.marks = path, [], []
        with path.open("rb") as log:
            magic, version, count, size = struct.unpack("<QQQI", log.read(28))
            assert (magic, version, size) == (MAGIC, 1, SECTOR), "the log of writes is no such log"
            offset = size
            for _ in range(count):
                log.seek(offset)
                sector, sectors, flags, _data = struct.unpack("<QQQQ", log.read(32))
                offset += size
                write = Write(sector, sectors, flags, offset)
                if not flags & (FLUSH | DISCARD):
                    offset += sectors * size
                    if sector * SECTOR >= FILESYSTEM_BYTES:
                        self.read_mark(log, write)
                self.writes.append(write)

    def read_mark(self, log, write):
        assert write.count == SLOT_SECTORS, "a slot is written at once"
        log.seek(write.offset)
        text, _, rest = log.read(write.count * SECTOR).rstrip(b"\0").decode().rpartition("end\n")
        assert text and not rest, "a slot is too small"
        self.marks.append(Mark(len(self.writes), text))

    def begin(self):
        """The first write after kiln was started."""
        return self.marks[0].at

    def moment(self, chance):
        """Any, but rather one when much was under way: after most of kiln's flushes there is but a write or two."""
        under_way, counts = 0, []
        for write in self.writes:
            under_way = 0 if write.flags & FLUSH else under_way + 1
            counts.append(under_way)
        moments = [chance.randint(self.begin() + 1, len(self.writes)) for _ in range(chance.choice((1, 8)))]
        return max(moments, key=lambda moment: counts[moment - 1])

    def cut(self, disk, moment, chance, out):
        """What `disk` may be when the power fails as write `moment` begins: all that was flushed and, of the rest, anything."""
        ends = [at for at, write in enumerate(self.writes[:moment]) if write.flags & FLUSH]
        made = Cut(moment, ends[-1] if ends else 0, marks=[mark for mark in self.marks if mark.at < moment])
        copy(disk, out)
        share = chance.choice((0, 0.1, 0.5, 0.9, 1))
        with self.path.open("rb") as log, out.open("r+b") as image:
            for at, write in enumerate(self.writes[:moment]):
                if write.flags & (FLUSH | DISCARD) or not write.count:
                    continue
                sectors = range(write.count)
                if at > made.flush and not write.flags & FUA:
                    made.unflushed += 1
                    if chance.random() >= share:
                        continue
                    made.kept += 1
                    if write.count > 1 and chance.random() < 0.1:
                        made.torn += 1
                        sectors = [sector for sector in sectors if chance.random() < 0.5]
                log.seek(write.offset)
                data = log.read(write.count * SECTOR)
                if len(sectors) == write.count:
                    image.seek(write.sector * SECTOR)
                    image.write(data)
                    continue
                for sector in sectors:
                    image.seek((write.sector + sector) * SECTOR)
                    image.write(data[sector * SECTOR : (sector + 1) * SECTOR])
        return made


def sparse(path, size):
    with path.open("wb") as file:
        file.truncate(size)


def copy(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def unpack(file):
    """What the guest has handed over, as a directory."""
    directory = file.with_suffix(".d")
    directory.mkdir()
    with tarfile.open(file, "r:") as handed:
        handed.extractall(directory, numeric_owner=True)
    file.unlink()
    return directory / "state"
