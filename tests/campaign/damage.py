"""What can happen to a file, a link, a directory, a ledger on a disk. Each says what it did."""

import os
import shutil


def damage_file(state, file, ways, chance):
    way = chance.choice(ways)
    facts = file.stat()
    at = f"{way} {file.relative_to(state)}"
    if facts.st_size == 0 and way in ("flip", "truncate", "empty"):
        way = at = "append"
        at += f" {file.relative_to(state)}"
    if way == "flip":
        at += f" at {flip(file, chance.randrange(facts.st_size), chance)} of {facts.st_size}"
    elif way == "truncate":
        os.truncate(file, chance.randrange(facts.st_size))
    elif way == "empty":
        os.truncate(file, 0)
    elif way == "append":
        with file.open("ab") as open_file:
            open_file.write(b"more")
    elif way == "mode":
        file.chmod((facts.st_mode & 0o777) ^ chance.choice((0o111, 0o200, 0o004)))
    elif way == "owner":
        os.chown(file, 12, 34)
    else:
        file.unlink()
        if way == "directory":
            file.mkdir()
        elif way == "symlink":
            file.symlink_to("nowhere")
    return at


def damage_link(state, link, chance):
    way = chance.choice(("target", "delete", "file", "directory"))
    link.unlink()
    if way == "target":
        link.symlink_to("/etc/passwd")
    elif way == "file":
        link.write_text("a file")
    elif way == "directory":
        link.mkdir()
    return f"link: {way} {link.relative_to(state)}"


def damage_directory(state, directory, chance):
    way = chance.choice(("mode", "owner", "delete", "file", "link"))
    if way == "mode":
        directory.chmod(0o711 if directory.stat().st_mode & 0o777 != 0o711 else 0o755)
    elif way == "owner":
        os.chown(directory, 12, 34)
    else:
        shutil.rmtree(directory)
        if way == "file":
            directory.write_text("a file")
        elif way == "link":
            directory.symlink_to("/tmp")
    return f"directory: {way} {directory.relative_to(state)}"


def damage_ledger(file, chance):
    size = file.stat().st_size
    if size == 0:
        return "an empty file, left alone"
    way = chance.choice(("flip", "flip", "flip", "header", "page", "cut", "zero"))
    if way == "cut":
        to = chance.randrange(size)
        os.truncate(file, to)
        return f"{file.name} cut to {to} of {size} bytes"
    if way == "zero":
        at = chance.randrange(size) // 4096 * 4096
        with file.open("r+b") as open_file:
            open_file.seek(at)
            open_file.write(bytes(min(4096, size - at)))
        return f"{file.name}: {at} to {at + 4096} zeroed"
    # The header of the file or log; of a page; anything.
    at = {"header": chance.randrange(32), "page": chance.randrange(size) // 4096 * 4096 + chance.randrange(12)}.get(way, chance.randrange(size))
    return f"{file.name} flipped at {flip(file, min(at, size - 1), chance)} of {size}"


def flip(file, at, chance):
    """A bit or more of that byte; mtime and size stay."""
    facts = file.stat()
    with file.open("r+b") as open_file:
        open_file.seek(at)
        byte = open_file.read(1)[0]
        open_file.seek(at)
        open_file.write(bytes([byte ^ chance.randint(1, 255)]))
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    return at
