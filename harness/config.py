"""An experiment: a TOML file, a shipped name, `--set` overrides; in, a checked record."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.hashing import digest_json
from harness.paths import resolve
from harness.records import Experiment
from harness.tomlfile import parse_toml, read_toml, to_record


def load_experiment(name: str, overrides: Iterable[str] = (), model: str | None = None) -> tuple[Experiment, bytes]:
    """The experiment and its file's bytes as given.

    `name` is a path or a shipped name; `overrides` are "a.b=c" with TOML values (bare words are strings); `model`
    replaces models.main.name. Raises UsageError.
    """
    path = resolve(name, "runs", ".toml", "experiment")
    data = read_toml(path)
    return to_experiment(data, path.name, overrides, model), path.read_bytes()


def parse_experiment(given: bytes, where: str, overrides: Iterable[str] = (), model: str | None = None) -> Experiment:
    """The experiment in the bytes of a file, for resume."""
    return to_experiment(parse_toml(given, where), where, overrides, model)


def to_experiment(
    data: dict[str, Any], where: str, overrides: Iterable[str] = (), model: str | None = None
) -> Experiment:
    """Apply overrides to a parsed file and check the whole."""
    merged = dict(data)
    if model is not None:
        models = dict(merged.get("models") or {})
        main = models.get("main")
        models["main"] = {**(main if isinstance(main, dict) else {}), "name": model}
        merged["models"] = models
    for override in overrides:
        merged = _set(merged, override)
    return to_record(Experiment, merged, where)


def _set(data: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {override}: want a.b=value, as in --set budget.rounds=3")
    parts = [part.strip() for part in key.split(".")]
    return _with(data, parts, _value(text.strip()), override)


def _with(data: Mapping[str, Any], parts: list[str], value: Any, override: str) -> dict[str, Any]:
    head, rest = parts[0], parts[1:]
    if not rest:
        return {**data, head: value}
    inner = data.get(head, {})
    if not isinstance(inner, Mapping):
        raise UsageError(f"--set {override}: {head} is a value, not a table")
    return {**data, head: _with(inner, rest, value, override)}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


RESUMABLE = frozenset({"budget", "sandbox.concurrency", "tracking", "claim", "description"})
"""Keys that may change on resume: they bound or show the run and decide no score."""


def changed_keys(before: Experiment, after: Experiment) -> tuple[str, ...]:
    """Dotted names of keys that differ and may not: resume refuses them."""
    old, new = flat(before.model_dump(mode="json")), flat(after.model_dump(mode="json"))
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return tuple(key for key in differing if not any(key == ok or key.startswith(ok + ".") for ok in RESUMABLE))


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names; an empty table is a value."""
    if not isinstance(data, dict) or not data:
        return {prefix: data}
    found: dict[str, Any] = {}
    for key, value in data.items():
        found.update(flat(value, f"{prefix}.{key}" if prefix else key))
    return found


def config_digest(experiment: Experiment) -> str:
    """Digest of what decides a run: the experiment without the keys that may change on resume."""
    kept = {key: value for key, value in flat(experiment.model_dump(mode="json")).items()
            if not any(key == ok or key.startswith(ok + ".") for ok in RESUMABLE)}  # fmt: skip
    return digest_json(kept)


def runs_folder(base: Path | None = None) -> Path:
    """Where run folders go: runs/ of the current folder."""
    return (base or Path.cwd()) / "runs"
