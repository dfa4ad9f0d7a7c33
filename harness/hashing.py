"""Hashes of values in memory: pure, and the same on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sha256(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()


def digest_files(files: Mapping[str, bytes]) -> str:
    """The same digest over files in memory."""
    outer = hashlib.sha256()
    for path in sorted(files):
        outer.update(f"{path}\0{sha256(files[path])}\n".encode())
    return outer.hexdigest()


def digest_json(value: Any) -> str:
    """sha256 over canonical JSON (sorted keys, no spaces, UTF-8). Raises TypeError for what JSON does not hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode())


def digest_texts(files: Mapping[str, str]) -> str:
    """The same digest over text files, UTF-8: a scaffold's digest."""
    return digest_files({path: text.encode() for path, text in files.items()})
