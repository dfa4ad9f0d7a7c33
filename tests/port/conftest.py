"""A program behind the real port: the real broker and trajectory, in the plain or the isolated provider."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.broker import Broker, text_files
from harness.models.gateway import ModelGateway, build_routes
from harness.models.simulated import SimulatedModel
from harness.port.handler import ModelPort
from harness.port.program import run_program
from harness.records import Limits, ModelReply, Usage
from harness.records.experiment import ModelChoice
from harness.sandboxes import open_provider
from harness.seams import Mount, SandboxSpec
from harness.trajectory import Trajectory

SDK = Path(__file__).resolve().parents[2] / "harness" / "sdk"
MODELS = {"main": "simulated/medium", "small": "simulated/small"}


class Scripted:
    """A gateway that answers with the given messages in order, the last one for ever; a fault is raised."""

    def __init__(self, *script):
        self.script, self.calls = list(script), []

    async def complete(self, call):
        found = self.script[min(len(self.calls), len(self.script) - 1)]
        self.calls.append(call)
        if isinstance(found, Exception):
            raise found
        message = {"role": "assistant", **(found if isinstance(found, dict) else {"content": found})}
        finish = message.pop("finish", "tool_calls" if message.get("tool_calls") else "stop")
        usage = Usage(calls=1, tokens_in=100, tokens_out=20, tokens_cached=60, tokens_reasoning=5)
        return ModelReply(message=message, finish=finish, usage=usage, origin="simulated", served="scripted")


def function_call(ident, name, arguments):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def simulated():
    """The real gateway over the simulated model."""
    models = {alias: ModelChoice(name=name) for alias, name in MODELS.items()}
    return ModelGateway(build_routes(models, lambda choice: SimulatedModel(choice.name)))


def broker_of(gateway, sandbox=None, limits=None, trajectory=None):
    return Broker(sandbox, gateway, trajectory or Trajectory("agent", "1", "scripted"), instruction="", workdir="/app",
                  limits=limits or Limits(time_limit=60), models=tuple(MODELS), trial="t", seed=1, role="worker")  # fmt: skip


def behind_port(gateway, program, *, provider="local", limits=None, argv=None):
    """Run a Python program behind the port; what it printed, how it ended, and what the harness recorded."""

    async def main():
        sandboxes = open_provider(provider, unsafe=True)
        trajectory = Trajectory("agent", "1", "scripted")
        try:
            spec = SandboxSpec(label="port", pids=128, mounts=(Mount(source=str(SDK), target="/opt/sdk"),))
            sandbox = await sandboxes.start(spec)
            await sandbox.put(text_files({"client.py": program}), "/app")
            broker = broker_of(gateway, sandbox, limits, trajectory)
            local = provider == "local"
            ran = await run_program(
                sandbox, argv or [sys.executable if local else "python3", "client.py"], ModelPort(broker, MODELS), cwd="/app",
                time_limit=40, sdk=str(SDK) if local else "/opt/sdk", python=sys.executable if local else "python3",
            )  # fmt: skip
            return SimpleNamespace(code=ran.returncode, output=ran.output.decode(), broker=broker, trajectory=trajectory,
                                   seconds=ran.seconds, timed_out=ran.timed_out)  # fmt: skip
        finally:
            await sandboxes.close()

    return asyncio.run(main())


@pytest.fixture
def port():
    """The helpers of these tests, by name."""
    return SimpleNamespace(
        run=behind_port, Scripted=Scripted, call=function_call, simulated=simulated, broker=broker_of, models=MODELS
    )
