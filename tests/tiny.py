"""A verifier, a scripted gateway and small programs: what tests of trials are made of."""

import json
from pathlib import Path

from harness.records import ModelReply, Usage
from harness.scaffold import to_scaffold

ROOT = Path(__file__).resolve().parents[1]
TOML = 'contract = 1\nentry = ["python3", "agent.py"]\n'
VERIFY = """import sys
sys.path.insert(0, "/tests")
import grading
report = grading.Report()
with report.guard("done"):
    report.check("done", grading.read_text("/app/done.txt").strip() == "yes")
report.finish()
"""


class Scripted:
    """A gateway that answers with the given commands, one per call, then with a closing sentence."""

    def __init__(self, *commands, fault=None):
        self.commands, self.fault, self.calls = list(commands), fault, 0

    async def complete(self, call):
        self.calls += 1
        if self.fault:
            raise self.fault
        message = {"role": "assistant", "content": "Done."}
        if self.calls <= len(self.commands):
            text = json.dumps({"command": self.commands[self.calls - 1]})
            message = {"role": "assistant", "content": None, "tool_calls": [
                {"id": f"c{self.calls}", "type": "function", "function": {"name": "bash", "arguments": text}}]}  # fmt: skip
        return ModelReply(
            message=message, usage=Usage(calls=1, tokens_in=10, tokens_out=5), origin="simulated", served="scripted"
        )


def program(code):
    """A scaffold of one file."""
    return to_scaffold({"scaffold.toml": TOML, "agent.py": code})


def write_task(folder):
    """A task folder: write yes into done.txt."""
    for name, text in {
        "task.toml": 'schema_version = "1.4"\n[environment]\nnetwork_mode = "no-network"\n[verifier]\ntimeout_sec = 5\n',
        "instruction.md": "Write yes into done.txt.\n", "environment/files/readme.txt": "hello\n",
        "tests/test.sh": "exec python3 -I /tests/verify.py\n", "tests/verify.py": VERIFY,
        "tests/grading.py": (ROOT / "tasks" / "grading.py").read_text(),
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
