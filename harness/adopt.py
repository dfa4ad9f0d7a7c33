"""Adopting an agent that somebody has already: what kind it is, its manifest, its runtime, what may be edited.

Nothing in the folder is changed but scaffold.toml (and a lock of its requirements), which are written when missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.digest import files_of
from harness.errors import MachineError, UsageError
from harness.runs import write_atomic
from harness.scaffold import Scaffold, matches, read_scaffold

KINDS = ("sdk", "python", "mini-swe-agent", "claude-code", "codex")
_MAINS = ("agent.py", "main.py", "run.py", "__main__.py", "app.py")
_LOCK = "requirements.lock"
_CLAUDE = (
    'mkdir -p "$HOME/.claude" && cp -r {scaffold}/. "$HOME/.claude/" && exec /opt/program/claude -p "$HARNESS_INSTRUCTION" '
    "--model main --permission-mode bypassPermissions"
)
_CODEX = (
    'mkdir -p "$HOME/.codex" && cp -r {scaffold}/. "$HOME/.codex/" && CODEX_HOME="$HOME/.codex" exec /opt/program/codex exec '
    "--skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -m main -c model_provider=harness "
    '-c "model_providers.harness={name=\\"harness\\",base_url=\\"$OPENAI_BASE_URL\\",wire_api=\\"responses\\",env_key=\\"OPENAI_API_KEY\\"}" '
    '"$HARNESS_INSTRUCTION"'
)


@dataclass(frozen=True)
class Adopted:
    """What was found: `editable` files, `locked` ones, and what was written."""

    kind: str
    scaffold: Scaffold
    editable: tuple[str, ...]
    locked: tuple[str, ...]
    written: tuple[str, ...]


def adopt(folder: Path, kind: str | None, *, runtime: str = "", entry: str = "") -> Adopted:
    """Write what the folder lacks to be a scaffold. Raises UsageError when no agent is found in it, MachineError."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder\nname the folder of an agent")
    written: list[str] = []
    manifest = folder / "scaffold.toml"
    names = {path.as_posix() for path in files_of(folder)}
    found = kind or _kind_of(folder, names)
    if not manifest.exists():
        text = _MAKERS[found](folder, names, runtime, entry, written)
        write_atomic(manifest, text.encode())
        written.append("scaffold.toml")
    scaffold = read_scaffold(folder)
    return _adopted(found, scaffold, written)


def _adopted(kind: str, scaffold: Scaffold, written: list[str]) -> Adopted:
    program = scaffold.settings.program
    patterns = program.editable if program is not None else ("**",)
    closed = {"scaffold.toml", program.runtime} if program is not None else set[str]()
    editable = tuple(
        path for path in sorted(scaffold.files) if path not in closed and any(matches(path, p) for p in patterns)
    )
    locked = tuple(path for path in sorted(scaffold.files) if path not in editable)
    return Adopted(kind, scaffold, editable, locked, tuple(written))


def _kind_of(folder: Path, names: set[str]) -> str:
    """By what lies in the folder. Raises UsageError when nothing is known."""
    for name in sorted(names):
        if name.endswith(".py") and "harness_sdk" in (folder / name).read_text("utf-8", "replace"):
            return "sdk"
    if _settings_of_mini(folder, names):
        return "mini-swe-agent"
    if "CLAUDE.md" in names or any(name.startswith(".claude/") for name in names):
        return "claude-code"
    if "AGENTS.md" in names and not any(name.endswith(".py") for name in names):
        return "codex"
    if any(main in names for main in _MAINS):
        return "python"
    raise _no_agent(
        folder, "any kind", "a program (" + ", ".join(_MAINS) + "), CLAUDE.md, AGENTS.md or a mini-swe-agent YAML"
    )


def _no_agent(folder: Path, kind: str, wanted: str) -> UsageError:
    return UsageError(
        f"{folder}: no agent of {kind} found in it\nit would hold {wanted}; --kind and --entry say otherwise"
    )


def _settings_of_mini(folder: Path, names: set[str]) -> str:
    """The YAML with mini-swe-agent's two templates, or ''."""
    for name in sorted(names):
        if name.endswith((".yaml", ".yml")):
            text = (folder / name).read_text("utf-8", "replace")
            if "system_template" in text and "instance_template" in text:
                return name
    return ""


Maker = Callable[[Path, set[str], str, str, list[str]], str]


def _sdk(folder: Path, names: set[str], runtime: str, entry: str, written: list[str]) -> str:
    main = entry or next((name for name in _MAINS if name in names), "")
    if not main:
        raise _no_agent(folder, "kind sdk", "agent.py, which imports harness_sdk")
    words = main.split() if entry else ["python3", main]
    return f"contract = 1\nentry = {json.dumps(words)}\n"


def _python(folder: Path, names: set[str], runtime: str, entry: str, written: list[str]) -> str:
    main = next((name for name in _MAINS if name in names), "")
    if not main and not entry:
        raise _no_agent(folder, "kind python", ", ".join(_MAINS))
    words = entry.split() if entry else ["python3", "{scaffold}/" + main]
    named = _runtime(folder, names, runtime, written)
    return _manifest(words, named, '["**"]', {})


def _mini(folder: Path, names: set[str], runtime: str, entry: str, written: list[str]) -> str:
    settings = _settings_of_mini(folder, names)
    if not settings:
        raise _no_agent(folder, "kind mini-swe-agent", "a YAML file with system_template and instance_template")
    words = ["python3", "-m", "minisweagent.run.mini", "-m", "openai/main", "-c", "{scaffold}/" + settings, "-t", "{instruction}",
             "-y", "--exit-immediately", "-o", "/tmp/mini.traj.json"]  # fmt: skip
    named = _runtime(folder, names, runtime, written, "mini-swe-agent")
    env = {"MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1", "MSWEA_COST_TRACKING": "ignore_errors",
           "MSWEA_GLOBAL_CONFIG_DIR": "/tmp/home/mini"}  # fmt: skip
    return _manifest(words, named, json.dumps([settings, "**/*.md"]), env)


def _claude(folder: Path, names: set[str], runtime: str, entry: str, written: list[str]) -> str:
    env = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "IS_SANDBOX": "1", "DISABLE_AUTOUPDATER": "1"}
    return _manifest(["sh", "-c", entry or _CLAUDE], _binary(runtime, "claude"), '["**"]', env)


def _codex(folder: Path, names: set[str], runtime: str, entry: str, written: list[str]) -> str:
    return _manifest(["sh", "-c", entry or _CODEX], _binary(runtime, "codex"), '["**"]', {})


_MAKERS: dict[str, Maker] = {
    "sdk": _sdk,
    "python": _python,
    "mini-swe-agent": _mini,
    "claude-code": _claude,
    "codex": _codex,
}


def _manifest(words: list[str], runtime: str, editable: str, env: dict[str, str]) -> str:
    lines = ["# Written by harness adopt. [program] is locked: proposals change only what is editable.", "contract = 1",
             f"entry = {json.dumps(words)}", "", "[program]", 'placement = "task"']  # fmt: skip
    lines += [f"runtime = {json.dumps(runtime)}"] if runtime else []
    lines += [f"editable = {editable}"]
    lines += (
        ["env = { " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items()) + " }"] if env else []
    )
    return "\n".join(lines) + "\n"


def _runtime(folder: Path, names: set[str], given: str, written: list[str], package: str = "") -> str:
    """The lock of the agent's packages: the folder's own, or resolved now from its requirements or the package's name."""
    if given:
        return str(Path(given).resolve()) if Path(given).is_dir() else given
    if _LOCK in names:
        return _LOCK
    wanted = ["-r", str(folder / "requirements.txt")] if "requirements.txt" in names else [package] if package else []
    if not wanted:
        return ""
    write_atomic(folder / _LOCK, _resolve(wanted).encode())
    written.append(_LOCK)
    return _LOCK


def _resolve(wanted: list[str]) -> str:
    """Exact versions with hashes, without an address, as pip resolves them for this Python. Raises MachineError."""
    line = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--only-binary", ":all:",
            "--report", "-", *wanted]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [text for text in done.stderr.splitlines() if text.startswith("ERROR")] or ["pip failed"]
        raise MachineError(f"the agent's requirements: {said[-1][:300]}\ngive a lock yourself: {_LOCK} in the folder")
    rows = []
    for item in json.loads(done.stdout)["install"]:
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        name = f"{item['metadata']['name']}=={item['metadata']['version']}"
        rows.append(f"{name} \\\n    --hash=sha256:{digest}" if digest else name)
    return "\n".join(sorted(rows, key=str.lower)) + "\n"


def _binary(given: str, name: str) -> str:
    """The folder with a command-line agent's program: named, or found on this machine. Raises UsageError."""
    if given:
        return str(Path(given).resolve())
    there = shutil.which(name)
    if there is None:
        raise UsageError(
            f"{name}: not found on this machine\ninstall it, or name the folder that holds it: --runtime FOLDER"
        )
    return str(Path(there).resolve().parent)
