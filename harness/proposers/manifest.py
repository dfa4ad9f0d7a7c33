"""Reading manifest.toml, and the changes that a proposer left."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

from pydantic import ValidationError

from harness.errors import ProposalError
from harness.records import Change, Manifest
from harness.tomlfile import explain


def read_manifest(text: str) -> Manifest:
    """A manifest from its TOML. Raises ProposalError with the key and what is wrong."""
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProposalError(f"manifest.toml: not valid TOML: {error}") from None
    except ValidationError as error:
        raise ProposalError(f"manifest.toml: {explain(Manifest, error)}") from None


def changes_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Files whose text differs, by path; a removed one has None."""
    differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return tuple(Change(path=path, text=after.get(path)) for path in differing)
