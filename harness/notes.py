"""notes/: the ledger of facts, kept by the harness, and the round memo with its self-criticism, written by the model."""

from __future__ import annotations

import time

from harness.archive import Archive
from harness.broker import Gateway
from harness.draws import draw_int
from harness.errors import InfraError, LimitReached
from harness.paths import RunPaths
from harness.records import ModelCall
from harness.render import delta, one_line, title_of, verdict
from harness.runs import write_atomic

MEMO_LIMIT = 1500
MEMO_SYSTEM = (
    "Round memo. You keep the short-term memory of a series of experiments on a scaffold. After each round you write what "
    "the next round must know: what was tried, what came of it, what you would do differently (self-criticism), what to try "
    "next. At most 120 words, plain text, no task ids."
)


class NoteKeeper:
    """Writes notes/ledger.md and notes/memo.md after each round."""

    def __init__(self, paths: RunPaths, gateway: Gateway, alias: str, seed: int) -> None:
        self._paths, self._gateway, self._alias, self._seed = paths, gateway, alias, seed

    async def write(self, archive: Archive, number: int) -> str:
        """Ledger and memo of round `number`; the memo's text. An empty or failed memo is replaced by the facts, and says so."""
        facts = fact(archive, number)
        ledger = "# Ledger\n\n" + "".join(f"- {fact(archive, n)}\n" for n in sorted(archive.rounds) if n <= number)
        write_atomic(self._paths.notes / "ledger.md", ledger.encode())
        memo = await self._memo(archive, number, facts)
        every = [*archive.memos, (number, memo)]
        text = "".join(f"## Round {n}\n\n{written}\n\n" for n, written in every)
        write_atomic(self._paths.notes / "memo.md", text.encode())
        return memo

    async def _memo(self, archive: Archive, number: int, facts: str) -> str:
        earlier = "\n".join(f"Round {n}: {one_line(text, 300)}" for n, text in archive.memos[-4:]) or "none"
        ask = f"Facts of this round:\n{facts}\n\nEarlier memos:\n{earlier}\n\nWrite the memo of round {number}."
        call = ModelCall(
            alias=self._alias, role="proposer", trial=f"memo/r{number:02d}", deadline=time.monotonic() + 120,
            seed=draw_int(self._seed, number, "memo", bits=31),
            messages=({"role": "system", "content": MEMO_SYSTEM}, {"role": "user", "content": ask}),
        )  # fmt: skip
        try:
            reply = await self._gateway.complete(call)
        except (InfraError, LimitReached) as error:
            return f"(no memo: {one_line(str(error), 120)}) {facts}"
        text = str(reply.message.get("content") or "").strip()
        return text[:MEMO_LIMIT] if text else f"(the model wrote an empty memo) {facts}"


def fact(archive: Archive, number: int) -> str:
    """One round as one line of facts."""
    state = archive.rounds[number]
    if state.decision is None:
        return f"round {number}: undecided"
    d = state.decision
    kept = f"fixed {len(d.fixed)}, broke {len(d.broken)}" if d.delta is not None else one_line(d.detail, 160)
    return f"round {number}: {title_of(archive, d)}: {verdict(d)} ({d.reason}), {delta(d)}, {kept}, {d.trials} trials"
