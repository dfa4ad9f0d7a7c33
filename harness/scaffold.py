"""A scaffold: the folder that the model edits. Reading it, and everything about it that can be checked without running it.

A failed check is a verdict with its reason (`ScaffoldError.rejection`), not a crash.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.digest import files_of
from harness.errors import UsageError
from harness.hashing import digest_texts
from harness.records import Breach, Limits, Rejection, Sampling
from harness.tomlfile import explain

CONTRACT = 1
MAX_FILES = 64
MAX_BYTES = 256 * 1024


class ScaffoldError(UsageError):
    """A scaffold that breaks a rule; `rejection` is the verdict that a proposal gets for it."""

    def __init__(self, breach: Breach, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.rejection = Rejection(breach=breach, reason=reason, where=where)


class _SamplingTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    max_tokens: int | None = Field(default=None, ge=16, le=65536)
    stop: tuple[str, ...] | None = None


class _LimitsTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time_limit: float | None = Field(default=None, gt=0)
    working_limit: float | None = Field(default=None, gt=0)
    message_limit: int | None = Field(default=None, ge=1)
    token_limit: int | None = Field(default=None, ge=1)
    cost_limit: float | None = Field(default=None, ge=0)


class _ProgramTable(BaseModel):
    """[program]: `entry` is any command; its model calls go through the model port (docs/programs.md)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    placement: Literal["own", "task"] = "task"
    """Where it runs: in a sandbox of its own, or as an overlay in the task's, for agents that run their own shell."""
    runtime: str = ""
    """What it needs beyond the sandbox's Python: a requirements lock of the scaffold, an absolute folder of this machine, or
    image:NAME for a sandbox of its own on docker."""
    env: dict[str, str] = Field(default_factory=dict)
    editable: tuple[str, ...] = ("**",)
    """What proposals may change, besides what the experiment allows; scaffold.toml and the lock never."""


class Settings(BaseModel):
    """scaffold.toml. [limits] may only be lower than the experiment's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contract: Literal[1]
    entry: tuple[str, ...] = Field(min_length=1)
    sampling: _SamplingTable = _SamplingTable()
    limits: _LimitsTable = _LimitsTable()
    program: _ProgramTable | None = None


@dataclass(frozen=True)
class Scaffold:
    """Files by relative path, and the settings read from scaffold.toml."""

    files: Mapping[str, str]
    settings: Settings
    digest: str = field(default="")

    @property
    def sampling(self) -> Sampling:
        """The sampling settings that it asks for."""
        return Sampling(**self.settings.sampling.model_dump())

    @property
    def placement(self) -> Literal["own", "task"]:
        """Where it runs: scaffolds on the SDK always in a sandbox of their own."""
        return self.settings.program.placement if self.settings.program is not None else "own"

    def limits(self, caps: Limits) -> Limits:
        """The experiment's limits, lowered where the scaffold asks for less."""
        wanted = {k: v for k, v in self.settings.limits.model_dump().items() if v is not None}
        lowered = {name: _lower(getattr(caps, name), value) for name, value in wanted.items()}
        return caps.model_copy(update=lowered)


def read_files(folder: Path) -> dict[str, str]:
    """The text files of a scaffold folder. Raises ScaffoldError for links, other than UTF-8, too many or too large."""
    if not folder.is_dir():
        raise ScaffoldError("broken", "no such folder", str(folder))
    try:
        paths = files_of(folder)
    except UsageError as error:
        raise ScaffoldError("scope", str(error).partition(": ")[2], str(error).partition(": ")[0]) from None
    if len(paths) > MAX_FILES:
        raise ScaffoldError("scope", f"{len(paths)} files; at most {MAX_FILES} make a scaffold", str(folder))
    found: dict[str, str] = {}
    for path in paths:
        size = (folder / path).stat().st_size
        if size > MAX_BYTES:
            raise ScaffoldError(
                "scope", f"{size:,} bytes; a scaffold holds at most {MAX_BYTES:,} in all", str(folder / path)
            )
        found[path.as_posix()] = to_text((folder / path).read_bytes(), str(folder / path))
    return found


def to_text(data: bytes, where: str) -> str:
    """UTF-8 text. Raises ScaffoldError."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ScaffoldError("broken", f"not UTF-8 text (byte {error.start})", where) from None


def read_scaffold(folder: Path) -> Scaffold:
    """Read and check a scaffold folder. Raises ScaffoldError."""
    return to_scaffold(read_files(folder), str(folder))


def to_scaffold(files: Mapping[str, str], where: str = "") -> Scaffold:
    """Check a scaffold's files: names, sizes, syntax, scaffold.toml. Raises ScaffoldError."""
    _names(files)
    total = sum(len(text.encode()) for text in files.values())
    if total > MAX_BYTES:
        raise ScaffoldError("scope", f"{total:,} bytes in all; at most {MAX_BYTES:,} make a scaffold", where)
    if "scaffold.toml" not in files:
        raise ScaffoldError("broken", "scaffold.toml is missing", where)
    settings = _settings(files["scaffold.toml"])
    for path, text in files.items():
        if path.endswith(".py"):
            try:
                compile(text, path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                raise ScaffoldError("broken", f"syntax error: {error}", path) from None
    for part in settings.entry:
        name = part.removeprefix("{scaffold}/")
        if name.endswith(".py") and not name.startswith(("/", "-")) and name not in files:
            raise ScaffoldError("broken", f"entry names {name}, which is not there", "scaffold.toml")
    runtime = settings.program.runtime if settings.program is not None else ""
    if runtime and not runtime.startswith(("/", "image:")) and runtime not in files:
        raise ScaffoldError("broken", f"program.runtime names {runtime}, which is not there", "scaffold.toml")
    return Scaffold(files=dict(files), settings=settings, digest=digest_texts(files))


def _names(files: Mapping[str, str]) -> None:
    if len(files) > MAX_FILES:
        raise ScaffoldError("scope", f"{len(files)} files; at most {MAX_FILES} make a scaffold")
    for path in files:
        parts = path.split("/")
        if path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in path or "\0" in path:
            raise ScaffoldError("scope", "not a plain relative path", path)
        if any(part.startswith(".git") for part in parts):
            raise ScaffoldError("scope", "git's own files have no place in a scaffold", path)


def _settings(text: str) -> Settings:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScaffoldError("broken", f"not valid TOML: {error}", "scaffold.toml") from None
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        locked = {"model", "models", "reasoning_effort", "price", "budget"} & set(_keys(data))
        breach: Breach = "treatment" if locked else "broken"
        raise ScaffoldError(breach, explain(Settings, error), "scaffold.toml") from None


def _keys(data: Any) -> Iterable[str]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield str(key)
            yield from _keys(value)


def check_scope(before: Mapping[str, str], after: Mapping[str, str], editable: Iterable[str]) -> None:
    """Only editable files may differ. Raises ScaffoldError with breach `scope`."""
    patterns = tuple(editable)
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) != after.get(path) and not any(matches(path, pattern) for pattern in patterns):
            raise ScaffoldError("scope", f"not editable (editable: {', '.join(patterns)})", path)


def check_program(before: Scaffold, after: Scaffold) -> None:
    """What a program's manifest locks: itself, the runtime, and all that it does not call editable. Raises ScaffoldError.

    Nothing becomes a program by a proposal: its runtime may be a folder of this machine.
    """
    program = before.settings.program
    if program != after.settings.program:
        raise ScaffoldError("treatment", "[program] is the experiment's", "scaffold.toml")
    if program is None:
        return
    for path in ("scaffold.toml", program.runtime):
        if before.files.get(path) != after.files.get(path):
            raise ScaffoldError("treatment", "the manifest and the runtime of a program are the experiment's", path)
    check_scope(before.files, after.files, program.editable)


def check_treatment(before: Scaffold, after: Scaffold, caps: Limits) -> None:
    """Limits above the experiment's caps are the treatment, not the scaffold. Raises ScaffoldError."""
    for name, value in after.settings.limits.model_dump().items():
        cap = getattr(caps, name)
        if value is not None and cap is not None and value > cap:
            raise ScaffoldError(
                "treatment", f"limits.{name} = {value:g} is above the experiment's {cap:g}", "scaffold.toml"
            )
    if before.settings.contract != after.settings.contract:
        raise ScaffoldError("scope", "the contract version is not the scaffold's to change", "scaffold.toml")
    for path, text in after.files.items():
        if path.endswith(".py") and text != before.files.get(path) and (found := _REASONING.search(text)):
            raise ScaffoldError("treatment", f"{found.group(0)} is locked by the experiment", path)


_REASONING = re.compile(r"\breasoning_effort\b|\bapi_base\b|\bapi_key\b")


def matches(path: str, pattern: str) -> bool:
    """Glob match of a relative path: `**` crosses folders, `*` does not."""
    if pattern in ("**", "**/*"):
        return True
    regex = "".join(
        ".*" if part == "**" else re.escape(part) if part == "/" else fnmatch.translate(part)[4:-3].replace(".*", "[^/]*")
        for part in re.split(r"(\*\*|/)", pattern) if part
    )  # fmt: skip
    return re.fullmatch(regex, path) is not None


def _lower(cap: float | None, wanted: float) -> float:
    return wanted if cap is None else min(cap, wanted)
