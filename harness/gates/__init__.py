"""Gates turn paired trials into keep or revert. `pool` is the default; the others are comparisons."""

from __future__ import annotations

from harness.gates.plain import PairedGate, RandomGate, StrictGate
from harness.gates.pool import PoolGate
from harness.seams import Gate


def build_gate(kind: str) -> Gate:
    """The gate of an experiment's [gate] kind. Raises KeyError for an unknown kind (the config checks it first)."""
    gates: dict[str, type[PoolGate] | type[StrictGate] | type[PairedGate] | type[RandomGate]] = {
        "pool": PoolGate, "strict": StrictGate, "paired": PairedGate, "random": RandomGate,
    }  # fmt: skip
    return gates[kind]()
