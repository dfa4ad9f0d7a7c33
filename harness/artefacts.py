"""What a foreign task declares as artefacts: taken out of the agent's container, to be laid into the verifier's.

Regular files only, with whether they are executable; links stay behind. `exclude` works as tar's does.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from harness.records import Kept
from harness.seams import File, GetLimits, Sandbox

TAKEN = GetLimits(files=20_000, file_mb=256, total_mb=1024)
"""What is carried from one container to another."""
PIECE = 8 << 20
"""Bytes of a single file that are read at once: a command's output is kept whole up to twice that."""
READ = 'tail -c "+$1" -- "$2" | head -c "$3"'
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """An artefact as it is put elsewhere: files below a folder. `whole`: the folder is the artefact and holds nothing else."""

    folder: str
    files: Mapping[str, File] = field(default_factory=dict)
    whole: bool = False


async def take(box: Sandbox, kept: Kept) -> Taken:
    """An artefact out of a sandbox; what is not there is nothing."""
    if (await box.exec(["test", "-d", kept.source])).returncode == 0:
        found = await box.get(kept.source, limits=TAKEN)
        left = {name: file for name, file in found.items() if not excluded(name, kept.exclude)}
        return Taken(kept.source, left, whole=kept.source != "/")
    path = PurePosixPath(kept.source)
    file = await _file(box, kept.source)
    return Taken(str(path.parent), {path.name: file} if file is not None else {})


async def _file(box: Sandbox, path: str) -> File | None:
    """One file, whole or not at all."""
    if (await box.exec(["test", "-f", path])).returncode != 0:
        return None
    data = bytearray()
    while True:
        command = ["sh", "-c", READ, "sh", str(len(data) + 1), path, str(PIECE)]
        ran = await box.exec(command, split_streams=True, max_output=2 * PIECE)
        data += ran.stdout
        if len(data) > TAKEN.file_mb << 20:
            _LOG.warning("%s: %s is larger than %d MB and was left", box.id, path, TAKEN.file_mb)
            return None
        if len(ran.stdout) < PIECE:
            break
    return File(data=bytes(data), executable=(await box.exec(["test", "-x", path])).returncode == 0)


def excluded(name: str, patterns: tuple[str, ...]) -> bool:
    """As tar --exclude: a pattern fits the end of a path or of any folder above, from the start of any part of it."""
    parts = PurePosixPath(name).parts
    spans = ["/".join(parts[start:end]) for end in range(1, len(parts) + 1) for start in range(end)]
    return any(
        fnmatch.fnmatchcase(span, pattern.strip("/").removeprefix("./")) for pattern in patterns for span in spans
    )
