"""Where implementations meet: protocols, and the small records that cross them.

A seam exists only where two implementations ship. All are async inside; time limits are seconds; commands are argument
lists, never shell strings; output is bytes. What untrusted code does is a value; infrastructure faults are exceptions.
Contract tests for each seam ship in harness/testing/.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from harness.records import (
    Candidate,
    Decision,
    Grade,
    ModelReply,
    ModelRequest,
    Proposal,
    Record,
    Rejection,
    Trial,
    TrialSpec,
    Unit,
)
from harness.records.events import Event


class Model(Protocol):
    """An adapter to one family of models. It sends one request once: no retries, no cache, no budget.

    Raises ModelFault for everything that is not a well-formed reply.
    """

    async def complete(self, request: ModelRequest) -> ModelReply: ...


class Mount(Record):
    """A host folder shown read-only inside a sandbox."""

    source: str
    target: str


class SandboxSpec(Record):
    """What a sandbox needs. Sizes in MB, cpus in cores. The network is never there in `hardened`.

    `workdir` and /tmp are writable, empty and bounded; everything else is read-only or absent.
    """

    label: str
    """Run and trial that it serves; shown in listings and used by the reaper."""
    workdir: str = "/app"
    cpus: float = 1.0
    memory_mb: int = 512
    disk_mb: int = 256
    pids: int = 128
    mounts: tuple[Mount, ...] = ()
    extra_dirs: tuple[str, ...] = ()
    """More writable, bounded folders outside the working folder (/tests, /logs, /solution)."""
    image: str | None = None
    """Of a provider that has images; None is the provider's default."""
    build: str | None = None
    """A host folder with a Dockerfile, built once per content, in place of an image or where it cannot be had."""
    env: tuple[tuple[str, str], ...] = ()
    """`compat` only: variables of every command."""
    profile: Literal["hardened", "compat"] = "hardened"
    """`compat` is for foreign images: their user, a writable root, the network that is declared."""
    user: str | None = None
    """`compat` only: who commands run as, by name or number; None is the image's user."""
    network: Literal["none", "public"] = "none"
    """`compat` only."""


class ExecResult(Record):
    """A finished command. `returncode` is None when it was killed at its time limit; a signal is negative.

    `output` is standard output and standard error in order of arrival, head and tail kept, `dropped` bytes cut between.
    `stdout` alone is filled when the caller asked for separate streams.
    """

    returncode: int | None
    output: bytes
    stdout: bytes = b""
    dropped: int = 0
    timed_out: bool = False
    oom: bool = False
    seconds: float = 0.0


class File(Record):
    """One regular file: bytes and whether it is executable."""

    data: bytes
    executable: bool = False


Files = Mapping[str, File]
"""Relative posix path -> file. Never links, never absolute, never '..'."""


class GetLimits(Record):
    """Caps on what is taken out of a sandbox; more is cut off with `truncated`."""

    files: int = 2000
    file_mb: int = 16
    total_mb: int = 64


class Capabilities(Record):
    """What a provider enforces on this machine, found by trying (probe), never by version."""

    provider: str
    net_none: bool = False
    mem_limit: bool = False
    pids_limit: bool = False
    disk_quota: bool = False
    inode_quota: bool = False
    ro_root: bool = False
    uid_separation: bool = False
    tree_kill: bool = False
    seccomp: bool = False
    userns_blocked: bool = False
    dies_with_parent: bool = False
    host_hidden: bool = False
    notes: tuple[str, ...] = ()

    @property
    def grade(self) -> Grade:
        """A: all of it; B: isolated, uids shared or some limits only bounded; C: for trusted code only."""
        base = (
            self.net_none and self.ro_root and self.tree_kill and self.dies_with_parent and self.host_hidden
            and self.userns_blocked and self.disk_quota
        )  # fmt: skip
        if not base:
            return "C"
        return "A" if self.uid_separation and self.mem_limit and self.pids_limit and self.seccomp else "B"

    def grade_for(self, spec: SandboxSpec) -> Grade:
        """The grade of one sandbox: a foreign image's user and writable root cost A, its network costs B."""
        if spec.profile == "hardened":
            return self.grade
        return max(self.grade, "C" if spec.network == "public" else "B")


Handler = Callable[[Mapping[str, Any], bytes], Awaitable[tuple[Mapping[str, Any], bytes]]]
"""Answers one frame of a served process: (header, body) -> (header, body). It must not raise for bad input."""


class Sandbox(Protocol):
    """One sandbox, single use: started for one phase of one trial and thrown away."""

    id: str

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        time_limit: float = 60.0,
        max_output: int = 1 << 20,
        split_streams: bool = False,
    ) -> ExecResult:
        """Run a command as the untrusted user; at the time limit everything untrusted is killed."""
        ...

    async def put(self, files: Files, dest: str, *, trusted: bool = False) -> None:
        """Write files below `dest` (made when missing), owned by the untrusted user. Raises SandboxFault.

        `trusted`: owned by the sandbox's own root, readable for all; for folders that only it writes, or profile `compat`.
        """
        ...

    async def get(self, root: str, *, limits: GetLimits | None = None) -> dict[str, File]:
        """Regular files below `root`, by relative path. Links, devices and fifos are left out. Raises SandboxFault."""
        ...

    async def quiesce(self) -> int:
        """Kill every untrusted process and prove that none is left; how many were killed. Raises SandboxFault."""
        ...

    async def serve(
        self,
        argv: Sequence[str],
        handler: Handler,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        time_limit: float = 300.0,
        max_output: int = 1 << 18,
    ) -> ExecResult:
        """Run a program that asks for things in frames over inherited descriptors (see sandboxes/frames.py)."""
        ...

    async def snapshot(self) -> str:
        """An image of the quiesced sandbox as it is, to start another from; the provider removes it when it is closed.

        Raises MachineError where the provider has no images.
        """
        ...

    async def close(self) -> None:
        """Kill and remove it. Idempotent; never raises."""
        ...


class Sandboxes(Protocol):
    """A provider of sandboxes."""

    name: str

    async def probe(self) -> Capabilities: ...

    async def digest(self) -> str:
        """What sandboxes run on by default, by content: part of the lock and of every cache key."""
        ...

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """A running, empty sandbox. Raises SandboxFault (retryable) or MachineError (this machine cannot)."""
        ...

    async def drop(self, image: str) -> None:
        """Remove an image that `snapshot` made, when nothing runs on it any more. Never raises."""
        ...

    async def reap(self) -> int:
        """Remove what crashed runs left; how many."""
        ...

    async def close(self) -> None: ...


class RoundContext(Record):
    """What a proposer may know of the round: the parent's files, and the evidence folder (read-only, train only)."""

    round: int
    parent: Candidate
    files: dict[str, str]
    evidence: Path
    editable: tuple[str, ...]
    seed: int
    """H(run seed, round, "proposal"): the source of every draw of this proposal."""
    repair: int = 0
    rejection: Rejection | None = None
    """Why the previous try of this round was refused."""
    previous: Proposal | None = None


class Proposer(Protocol):
    """Writes proposals from evidence. Raises ProposalError-like HarnessErrors only for faults of its own machinery."""

    async def propose(self, context: RoundContext) -> Proposal: ...


class Duel(Record):
    """Everything that a gate may look at: the candidate against its parent, so far. Pure data, replayable.

    Trials of the parent are fresh: measured since it became parent, never those that selected it.
    """

    run_seed: int
    round: int
    candidate: str
    parent: str
    units: tuple[Unit, ...]
    candidate_trials: tuple[Trial, ...] = ()
    parent_trials: tuple[Trial, ...] = ()
    """Fresh trials of the parent from earlier rounds, in order."""
    parent_now: tuple[Trial, ...] = ()
    """Trials of the parent measured in this duel so far."""
    first_attempt: tuple[tuple[str, int], ...] = ()
    """First attempt ordinal that this duel may use, per "candidate/task/seed", where it is not 0."""
    trials_left: int | None = None
    """What the budget still holds, None when it is not in trials."""
    rounds_left: int | None = None
    proposal_trials: float = 5.0
    """What a proposal costs, in trials."""
    variance: tuple[float, float] = (4.5, 30.0)
    """Pooled variance state (V, n) of the run; selection.md section 5."""
    preset: str = "default"


class Gate(Protocol):
    """Turns paired trials into a verdict. Pure: the same duel gives the same answer on any machine."""

    name: str

    def next_block(self, duel: Duel) -> tuple[TrialSpec, ...]:
        """The trials wanted next, candidate and parent interleaved; empty when it can decide."""
        ...

    def decide(self, duel: Duel) -> Decision:
        """Keep or revert. Call it when next_block is empty, or when the budget ended (then `reason` is budget)."""
        ...


class Selector(Protocol):
    """Chooses the next parent from the archive. `draw(purpose)` gives a deterministic uniform number in [0, 1)."""

    def choose(self, archive: Any, draw: Callable[[str], float]) -> str: ...


RunTrial = Callable[[TrialSpec], Awaitable[Trial]]


class Executor(Protocol):
    """Runs trials, at most so many at once, and yields them as they end. Cancelled or closed, it leaves nothing behind."""

    def run(self, specs: Sequence[TrialSpec], run_trial: RunTrial) -> AsyncGenerator[Trial, None]: ...


class Tracker(Protocol):
    """A projection of the journal. It never stops a run: a broken server costs a warning."""

    def on(self, event: Event) -> None: ...

    def close(self, time_limit: float = 60.0) -> None: ...
