"""TOML in, records out: every file that people write is read here, with one clear error for what is wrong in it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.errors import UsageError, did_you_mean

R = TypeVar("R", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary. Raises UsageError with the place for a missing, unreadable or broken one."""
    try:
        return parse_toml(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder; a TOML file is wanted here") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def parse_toml(data: bytes, where: str) -> dict[str, Any]:
    """TOML bytes as a dictionary. Raises UsageError naming `where`."""
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{where}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: not valid TOML: {error}") from None


def to_record(kind: type[R], data: dict[str, Any], where: str) -> R:
    """Check `data` against a record. Raises UsageError: the first error's key, what is wrong, did you mean."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"{where}: {explain(kind, error)}") from None


def explain(kind: type[BaseModel], error: ValidationError) -> str:
    """The first error of a validation in one line: `gate.presett: unknown key (did you mean "preset"?)`."""
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    name = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = sorted(_fields_at(kind, location[:-1]))
        return f"{name}: unknown key{did_you_mean(location[-1], known)}"
    if first["type"] == "missing":
        return f"{name}: required, and not there"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
    return f"{name}: {message}{shown}" if name else f"{message}{shown}"


def _fields_at(kind: Any, location: list[str]) -> set[str]:
    """Field names of the record that sits at `location` below `kind`."""
    for part in location:
        field = kind.model_fields.get(part) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        if field is not None:
            kind = _record_in(field.annotation)
        if kind is None:
            return set()
    return set(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else set()


def _record_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_record_in(argument) for argument in get_args(annotation)]
    return next((found for found in inner if found is not None), None)
