"""Whether Docker is to be used where nobody said which provider."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from harness.errors import HarnessError
from harness.sandboxes.docker.engine import Engine, reachable
from harness.sandboxes.docker.images import DEFAULT_IMAGE, Images

PATIENCE = 3.0
"""Seconds for an engine to answer."""


async def is_ready(image: str | None, mapping: Mapping[str, str]) -> bool:
    """Whether an engine answers and has the default image; nothing is pulled to find out."""
    if not reachable():
        return False
    engine = Engine()
    try:
        async with asyncio.timeout(PATIENCE):
            await engine.open()
            return await Images(engine, mapping, lambda line: None).is_here(image or DEFAULT_IMAGE)
    except (HarnessError, TimeoutError):
        return False
    finally:
        await engine.close()
