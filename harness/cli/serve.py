"""harness serve: a simulated model as an OpenAI-compatible server on loopback."""

from __future__ import annotations

import argparse
import asyncio
import sys

from harness.errors import MachineError
from harness.models.serve import ChatServer
from harness.models.simulated import NAMES, SimulatedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(NAMES)}; the others are served beside it")
    parser.add_argument("--port", type=int, default=8123, help="0 takes a free one")


def run(arguments: argparse.Namespace) -> int:
    SimulatedModel(arguments.model)
    try:
        asyncio.run(_serve(arguments.model, arguments.port))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise MachineError(f"port {arguments.port}: {error.strerror}; name another with --port") from None
    return 0


async def _serve(name: str, port: int) -> None:
    server = ChatServer(SimulatedModel, NAMES)
    base = await server.start(port)
    print(base, flush=True)
    print(f"use it:  harness run demo -m openai/{name.removeprefix('simulated/')} --api-base {base}   (Ctrl-C ends it)",
          file=sys.stderr, flush=True)  # fmt: skip
    await server.serve_forever()
