"""Run one bundled task under Harbor's own code, in Harbor's Python: oracle, then an agent, in a bubblewrap environment.

python under_harbor.py TASK TRIALS [AGENT_FOLDER MODEL]     prints the reward as JSON
"""

import asyncio
import json
import sys
from pathlib import Path

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities
from harbor.models.trial.config import AgentConfig, EnvironmentConfig, TaskConfig, TrialConfig
from harbor.trial.trial import Trial

from harness.digest import folder_files
from harness.sandboxes import open_provider
from harness.seams import File, SandboxSpec


class BwrapEnvironment(BaseEnvironment):
    """A Harbor environment in one of our sandboxes, for a machine on which Harbor's own (compose) is not there."""

    @staticmethod
    def type():
        return "selfharness-bwrap"

    @property
    def capabilities(self):
        return EnvironmentCapabilities(disable_internet=True)

    @classmethod
    def resource_capabilities(cls):
        return EnvironmentResourceCapabilities(cpu_limit=True, memory_limit=True)

    def _validate_definition(self):
        pass

    async def start(self, force_build):
        self.provider = open_provider("bwrap", concurrency=0)
        self.box = await self.provider.start(SandboxSpec(label="harbor", extra_dirs=("/logs", "/tests", "/solution")))
        await self.box.put(folder_files(self.environment_dir / "files"), "/app")
        for folder in ("/logs/agent", "/logs/verifier", "/logs/artifacts"):
            await self.box.put({}, folder)

    async def stop(self, delete):
        await self.provider.close()

    async def exec(self, command, cwd=None, env=None, timeout_sec=None, user=None):
        done = await self.box.exec(
            ["bash", "-c", command], cwd=cwd, env=env, time_limit=timeout_sec or 600, split_streams=True
        )
        code = 124 if done.returncode is None else done.returncode
        return ExecResult(
            stdout=done.stdout.decode("utf-8", "replace"),
            stderr=done.output.decode("utf-8", "replace"),
            return_code=code,
        )

    async def upload_file(self, source_path, target_path):
        folder, _, name = target_path.rpartition("/")
        await self.box.put({name: File(data=Path(source_path).read_bytes(), executable=True)}, folder)

    async def upload_dir(self, source_dir, target_dir):
        await self.box.put(folder_files(Path(source_dir)), target_dir)

    async def download_file(self, source_path, target_path):
        folder, _, name = source_path.rpartition("/")
        Path(target_path).write_bytes((await self.box.get(folder))[name].data)

    async def download_dir(self, source_dir, target_dir):
        for path, file in (await self.box.get(source_dir)).items():
            (Path(target_dir) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(target_dir) / path).write_bytes(file.data)


async def main(task, trials, agent="", model=None):
    chosen = AgentConfig(name="oracle")
    if agent:
        sys.path.insert(0, agent)
        chosen = AgentConfig(import_path="agent:Agent", model_name=model)
    config = TrialConfig(task=TaskConfig(path=Path(task)), trials_dir=Path(trials), agent=chosen,
                         environment=EnvironmentConfig(import_path="under_harbor:BwrapEnvironment"))  # fmt: skip
    trial = await Trial.create(config)
    result = await trial.run()
    rewards = result.verifier_result.rewards if result.verifier_result else None
    error = result.exception_info.exception_message if result.exception_info else ""
    print(
        json.dumps({"rewards": rewards, "error": error, "tokens": getattr(result.agent_result, "n_input_tokens", None)})
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
