"""Files in and out of the sandbox, in small pieces, so that the agent never holds much of them in memory.

Everything here runs as the untrusted user: what a planted link leads to is at most what that user could reach itself.
"""

# ruff: noqa: PTH103, PTH123, PTH208, SIM105
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
from __future__ import annotations

import os
from _stat import S_ISDIR, S_ISREG

PIECE = 1 << 18
MAX_SEEN = 200_000


def put(dest: str, files: list, body: bytes) -> int:
    """Write files, given as [path, size, executable, append], below `dest`. Raises OSError, ValueError."""
    os.makedirs(dest, exist_ok=True)
    base = os.open(dest, os.O_RDONLY | os.O_DIRECTORY)
    folders = {"": base}
    view, at = memoryview(body), 0
    try:
        for path, size, executable, append in files:
            above, _, name = _checked(path).rpartition("/")
            folder = folders.get(above)
            if folder is None:
                if len(folders) > 200:
                    os.close(folders.pop(next(key for key in folders if key)))
                folder = folders[above] = _open_folder(above, base)
            _write(folder, name, view[at : at + size], executable, append)
            at += size
    finally:
        for fd in folders.values():
            os.close(fd)
    return len(files)


def _write(folder: int, name: str, data: memoryview, executable: bool, append: bool) -> None:
    if append:
        fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    else:
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(name, flags, 0o755 if executable else 0o644, dir_fd=folder)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def _checked(path: str) -> str:
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"not a relative path: {path!r}")
    return path


def _open_folder(path: str, base: int) -> int:
    """A descriptor of the folder below `base`, made when missing, never through a link."""
    fd = os.dup(base)
    for part in path.split("/"):
        try:
            try:
                os.mkdir(part, 0o755, dir_fd=fd)
            except FileExistsError:
                pass
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    return fd


def walk(root: str):
    """(relative path, stat) of every regular file below `root` on its file system, in order; a link is never followed.

    Ends with None when there was more than MAX_SEEN entries to look at.
    """
    try:
        top = os.lstat(root)
    except OSError:
        return
    if not S_ISDIR(top.st_mode):
        return
    stack, seen = [""], 0
    while stack:
        folder = stack.pop()
        try:
            names = sorted(os.listdir(root + "/" + folder))
        except OSError:
            continue
        inner = []
        for name in names:
            seen += 1
            if seen > MAX_SEEN:
                yield None
                return
            path = folder + "/" + name if folder else name
            try:
                info = os.lstat(root + "/" + path)
                path.encode()
            except (OSError, UnicodeEncodeError):
                continue
            if info.st_dev == top.st_dev and S_ISDIR(info.st_mode):
                inner.append(path)
            elif info.st_dev == top.st_dev and S_ISREG(info.st_mode):
                yield path, info
        stack.extend(reversed(inner))


def get(root: str, limits: dict, send) -> bool:
    """Send regular files below `root` in pieces; whether something was left out for being over a cap.

    `send(listing, data)` gets [path, size, executable, more] per piece. Sizes are of bytes read: a sparse file of a
    terabyte is over its cap at once by its length, and one that grows while it is read is cut off.
    """
    listing: list = []
    held, count, total, truncated = bytearray(), 0, 0, False
    for found in walk(root):
        if found is None:
            truncated = True
            break
        path, info = found
        if count >= limits["files"] or info.st_size > min(limits["file"], limits["total"] - total):
            truncated = True
            continue
        for data, more in _pieces(root + "/" + path, info, limits["file"]):
            listing.append([path, len(data), bool(info.st_mode & 0o100), more])
            held += data
            total += len(data)
            if len(held) >= PIECE or len(listing) >= 100:
                send(listing, held)
                listing, held = [], bytearray()
        count += 1
    send(listing, held)
    return truncated


def _pieces(full: str, info: os.stat_result, cap: int):
    """(bytes, whether more follow) of one file, if it is still the file that was listed."""
    try:
        fd = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        now = os.fstat(fd)
        if (now.st_dev, now.st_ino) != (info.st_dev, info.st_ino):
            return
        left = cap
        data = os.read(fd, min(PIECE, left))
        while True:
            left -= len(data)
            after = os.read(fd, min(PIECE, left)) if data and left > 0 else b""
            yield data, bool(after)
            if not after:
                return
            data = after
    except OSError:
        return
    finally:
        os.close(fd)
