"""Every random draw of a run is H(run seed, purpose...): no streamed generators, so order never matters."""

from __future__ import annotations

import hashlib
import random


def draw_int(seed: int, *purpose: object, bits: int = 63) -> int:
    """A deterministic integer in [0, 2**bits) for this seed and purpose (BLAKE2b)."""
    text = "\x1f".join([str(seed), *(str(part) for part in purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big") & ((1 << bits) - 1)


def draw(seed: int, *purpose: object) -> float:
    """A deterministic uniform number in [0, 1)."""
    return draw_int(seed, *purpose, bits=53) / (1 << 53)


def generator(seed: int, *purpose: object) -> random.Random:
    """A generator for one purpose, for shuffles and samples."""
    return random.Random(draw_int(seed, *purpose))


def sampling_seed(run_seed: int, task: str, seed: int, attempt: int) -> int:
    """The model's sampling seed of a trial: equal in both arms of a comparison. 31 bits, as providers accept."""
    return draw_int(run_seed, "sampling", task, seed, attempt, bits=31)
