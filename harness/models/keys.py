"""Which key a provider needs, and keeping keys out of what is written down."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, urlsplit

from harness.errors import MachineError, UsageError, did_you_mean
from harness.records.experiment import ModelChoice

KEYS = {
    "anthropic": "ANTHROPIC_API_KEY", "azure": "AZURE_API_KEY", "cohere": "COHERE_API_KEY",
    "dashscope": "DASHSCOPE_API_KEY", "deepinfra": "DEEPINFRA_API_KEY", "deepseek": "DEEPSEEK_API_KEY",
    "fireworks_ai": "FIREWORKS_API_KEY", "gemini": "GEMINI_API_KEY", "groq": "GROQ_API_KEY",
    "minimax": "MINIMAX_API_KEY", "mistral": "MISTRAL_API_KEY", "moonshot": "MOONSHOT_API_KEY",
    "novita": "NOVITA_API_KEY", "openai": "OPENAI_API_KEY", "openrouter": "OPENROUTER_API_KEY",
    "sambanova": "SAMBANOVA_API_KEY", "together_ai": "TOGETHERAI_API_KEY", "xai": "XAI_API_KEY", "zai": "ZAI_API_KEY",
}  # fmt: skip
KEYLESS = ("hosted_vllm", "lm_studio", "ollama", "ollama_chat", "simulated")
MIN_KEY = 8
"""Shorter values are stand-ins (none, dummy) and occur in texts by chance."""
_LONG = r"[A-Za-z0-9_\-]{16,}"
_PREFIXES = {
    "sk[-_]": r"[A-Za-z0-9_\-]{12,}", "eyJ": r"[A-Za-z0-9_\-.]{20,}", "AIza": _LONG, r"ya29\.": _LONG, "A[KS]IA": "[A-Z0-9]{16}",
    **dict.fromkeys(("gsk_", "hf_", "r8_", "fw_", "csk-", "tgp_v1_", "gh[pos]_", "github_pat_", "xai-", "pplx-", "nvapi-", "glpat-"), _LONG),
}  # fmt: skip
"""How keys of providers, and of places where keys are kept, begin and go on; others are known by their value only."""


def _shape(begin: str, rest: str) -> str:
    """At the begin of a word, also after a line break as JSON writes it, or a sign as a URL does. What looks back stands behind
    the prefix: a search for a plain prefix is ten times as fast."""
    return rf"{begin}(?:(?<![A-Za-z0-9]{begin})|(?<=\\[nrtbf]{begin})|(?<=%[0-9A-F]{{2}}{begin})){rest}"


_SHAPES = re.compile("|".join([*itertools.starmap(_shape, _PREFIXES.items()), r"(?<=Bearer )[A-Za-z0-9_\-.]{12,}"]))


def check_route(choice: ModelChoice, environ: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError for an unknown provider and MachineError for a missing key, each with what to do."""
    provider, slash, rest = choice.name.partition("/")
    known = sorted([*KEYS, *KEYLESS])
    if not slash or not rest:
        raise UsageError(f'model "{choice.name}": want provider/name, as litellm names it (openai/gpt-4o, simulated/medium)\n'
                         f"providers: {', '.join(known)}")  # fmt: skip
    if provider not in known:
        raise UsageError(f'model "{choice.name}": unknown provider "{provider}"{did_you_mean(provider, known)}\n'
                         f"providers: {', '.join(known)}")  # fmt: skip
    variable = KEYS.get(provider)
    if variable and not environ.get(variable) and not is_loopback(choice.api_base):
        raise MachineError(f'model "{choice.name}": no key; {variable} is not set in the environment\n'
                           f"export {variable}=..., or use simulated/medium, which needs none")  # fmt: skip


def key_for(choice: ModelChoice, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key to send; a stand-in for servers on loopback, which check none."""
    variable = KEYS.get(choice.name.partition("/")[0])
    found = environ.get(variable) if variable else None
    return found or ("none" if is_loopback(choice.api_base) else None)


def is_loopback(base: str | None) -> bool:
    """Whether an API base is on this machine."""
    return bool(base) and (urlsplit(str(base)).hostname or "") in ("127.0.0.1", "localhost", "::1")


def redact(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """The text without anything shaped like a key, and without the keys that the environment holds, whatever their shape."""
    for variable in KEYS.values():
        if len(value := environ.get(variable, "")) >= MIN_KEY:
            for form in _forms(value):
                text = text.replace(form, "[key]")
    return _SHAPES.sub("[key]", text)


def _forms(value: str) -> set[str]:
    """A key as it is, within JSON, in a URL, and as base64."""
    encoded = base64.b64encode(value.encode()).decode()
    return {value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value), encoded, encoded.rstrip("=")}
