"""The broker: answers a scaffold's requests on the host. It meters, enforces limits and records, whatever is asked.

Contract 1 (docs/contracts.md). Nothing that a scaffold sends can raise here: bad input is a `bad_request`, a spent limit
answers `limit` from then on, and an infrastructure fault is kept for the trial engine and answers `infra`. The SDK's frames
and the model port's requests (harness/port) pass the same `guard` and the same `ask`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from harness.errors import HarnessError, InfraError, LimitReached, ModelFault
from harness.records import Limits, ModelCall, ModelReply, Origin, Prompt, Role, Usage
from harness.seams import File, Sandbox
from harness.trajectory import Trajectory, encodable, shallow

MAX_NOTES = 200
MAX_REQUESTS = 20_000
EXEC_CAP = 600.0
Answer = TypeVar("Answer")


class Refused(Exception):
    """A request that was not carried out. `kind` is one of the contract's; for `limit`, which one it was."""

    def __init__(self, kind: str, message: str, limit: str | None = None) -> None:
        super().__init__(message)
        self.kind, self.limit = kind, limit


class Gateway(Protocol):
    """What the broker needs of the model gateway."""

    async def complete(self, call: ModelCall) -> ModelReply: ...


class Broker:
    """One scaffold process's requests. `handle` is its frame handler (seams.Handler)."""

    def __init__(
        self,
        sandbox: Sandbox,
        gateway: Gateway,
        trajectory: Trajectory,
        *,
        instruction: str,
        workdir: str,
        limits: Limits,
        models: tuple[str, ...],
        trial: str,
        seed: int,
        role: Role,
    ) -> None:
        self._sandbox, self._gateway, self._trajectory = sandbox, gateway, trajectory
        self._instruction, self._workdir, self._limits = instruction, workdir, limits
        self._models, self._trial, self._seed, self._role = models, trial, seed, role
        self._started = time.monotonic()
        self._turn = asyncio.Lock()
        self._requests = self._notes = self._remarks = self._calls = 0
        self.usage = Usage()
        self.steps = 0
        self.counters: Counter[str] = Counter()
        self.working_s = 0.0
        """Seconds spent in the task's sandbox and in models: waiting for capacity is not work."""
        self.limit: str | None = None
        """The limit that ended the agent, if one did."""
        self.reason = ""
        """What was said about that limit."""
        self.fault: HarnessError | None = None
        """The infrastructure fault that ended the agent, if one did."""
        self.crash: Exception | None = None
        """What went wrong in the harness itself: not the scaffold's fault, not infrastructure; it is raised again."""
        self.over = asyncio.Event()
        """Set when a limit, a fault or a crash has ended the session: no later request will be carried out."""
        self.origins: set[Origin] = set()
        self._operations: dict[str, Callable[[Mapping[str, Any], bytes], Awaitable[tuple[dict[str, Any], bytes]]]] = {
            "task": self._task, "exec": self._exec, "read": self._read, "write": self._write,
            "complete": self._complete, "log": self._log,
        }  # fmt: skip

    @property
    def deadline(self) -> float:
        """time.monotonic() at which the time limit ends."""
        return self._started + self._limits.time_limit

    async def handle(self, header: Mapping[str, Any], body: bytes) -> tuple[Mapping[str, Any], bytes]:
        """Answer one frame."""
        ident = header.get("id") if isinstance(header.get("id"), int) else 0
        try:
            answer, payload = await self.guard(lambda: self._operate(header, body))
        except Refused as refused:
            error = {"kind": refused.kind, "message": str(refused)}
            return {"id": ident, "error": {**error, "limit": refused.limit} if refused.limit else error}, b""
        return {"id": ident, **answer}, payload

    async def guard(self, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Carry out one request in its turn, within the limits. What ends the session is kept here. Raises only Refused."""
        self._requests += 1
        async with self._turn:
            try:
                self._check_limits()
                return await work()
            except Refused:
                raise
            except LimitReached as reached:
                if self.limit is None:
                    self.limit, self.reason = reached.limit, str(reached)
                refused = Refused("limit", str(reached), self.limit)
            except InfraError as error:
                if isinstance(error, ModelFault) and error.kind in ("context", "bad_request"):
                    raise Refused(error.kind, str(error)[:500]) from None
                self.fault = self.fault or error
                refused = Refused("infra", str(error)[:500])
            except Exception as error:  # the boundary: a bug or a machine error of ours ends the session at once
                self.crash = self.crash or error
                refused = Refused("infra", "the harness failed")
            self.over.set()
            raise refused

    async def _operate(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        operation = self._operations.get(str(header.get("op")))
        if operation is None:
            raise Refused("bad_request", f"unknown op {str(header.get('op'))[:40]!r}")
        return await operation(header, body)

    def _check_limits(self) -> None:
        if self.fault is not None:
            raise InfraError(str(self.fault))
        if self.crash is not None:
            raise Refused("infra", "the harness failed")
        limits = self._limits
        reached = {
            "message_limit": limits.message_limit is not None and self.steps >= limits.message_limit,
            "token_limit": limits.token_limit is not None and self.usage.tokens >= limits.token_limit,
            "cost_limit": limits.cost_limit is not None and (self.usage.usd or 0.0) >= limits.cost_limit,
            "time_limit": time.monotonic() >= self.deadline,
            "working_limit": limits.working_limit is not None and self.working_s >= limits.working_limit,
            "request_limit": self._requests > MAX_REQUESTS,
        }
        for name in ([self.limit] if self.limit else []) + [name for name, hit in reached.items() if hit]:
            if name != "message_limit" or self.limit:
                raise LimitReached(name)

    async def _task(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        limits = {k: v for k, v in self._limits.model_dump().items() if k != "working_limit"}
        return {"instruction": self._instruction, "workdir": self._workdir, "step": self.steps, "limits": limits,
                "models": list(self._models), "contract": 1}, b""  # fmt: skip

    async def _exec(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        argv = header.get("argv")
        if isinstance(header.get("command"), str):
            argv = ["bash", "-c", header["command"]]
        if not isinstance(argv, list) or not argv or not all(isinstance(a, str) and "\0" not in a for a in argv):
            raise Refused("bad_request", "exec wants argv (a list of strings) or command (a string)")
        cwd = header.get("cwd")
        if cwd is not None and not isinstance(cwd, str):
            raise Refused("bad_request", "cwd is a string")
        left = self.deadline - time.monotonic()
        wanted = header.get("time_limit")
        limit = float(min(left, EXEC_CAP, wanted if isinstance(wanted, int | float) and wanted > 0 else 60.0))
        ran = await self._timed(
            self._sandbox.exec(argv, cwd=cwd or self._workdir, stdin=body, time_limit=max(limit, 0.05))
        )
        return {"returncode": ran.returncode, "timed_out": ran.timed_out, "dropped": ran.dropped, "oom": ran.oom,
                "seconds": round(ran.seconds, 3)}, ran.output  # fmt: skip

    async def _read(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        path, offset, limit = _path(header), header.get("offset", 0), header.get("limit", 1 << 20)
        if not isinstance(offset, int) or not isinstance(limit, int) or offset < 0 or not 0 < limit <= 1 << 24:
            raise Refused("bad_request", "offset and limit are byte counts, limit at most 16 MiB")
        script = 'stat -Lc %s -- "$1" && [ -f "$1" ] && tail -c +$(($2 + 1)) -- "$1" | head -c "$3"'
        argv = ["bash", "-c", script, "read", path, str(offset), str(limit)]
        ran = await self._timed(
            self._sandbox.exec(argv, cwd=self._workdir, split_streams=True, max_output=2 * limit + 64)
        )
        size, newline, data = ran.stdout.partition(b"\n")
        if ran.returncode or not newline:
            raise Refused("not_found", f"{path[:200]}: cannot be read")
        return {"size": int(size)}, data

    async def _write(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        path = _path(header)
        script = 'mkdir -p -- "$(dirname -- "$1")" && cat > "$1"'
        ran = await self._timed(
            self._sandbox.exec(["bash", "-c", script, "write", path], cwd=self._workdir, stdin=body)
        )
        if ran.returncode:
            raise Refused("bad_request", ran.output.decode("utf-8", "replace")[-300:])
        return {"size": len(body)}, b""

    async def _complete(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        try:
            prompt = Prompt(alias=header.get("model", "main"), messages=header.get("messages") or (),
                            tools=header.get("tools") or (), sampling=header.get("sampling") or {})  # fmt: skip
        except ValidationError as error:
            raise refused_shape("complete", error) from None
        reply = await self.ask(prompt)
        left = {"messages": _left(self._limits.message_limit, self.steps), "seconds": round(self.deadline - time.monotonic(), 1),
                "tokens": _left(self._limits.token_limit, self.usage.tokens)}  # fmt: skip
        usage = {"tokens_in": reply.usage.tokens_in, "tokens_out": reply.usage.tokens_out}
        return {"message": reply.message, "finish": reply.finish, "usage": usage, "left": left}, b""

    async def ask(self, prompt: Prompt) -> ModelReply:
        """One completion, metered and recorded; for work that `guard` carries out. Raises what `guard` sorts."""
        if self._limits.message_limit is not None and self.steps >= self._limits.message_limit:
            raise LimitReached("message_limit")
        if prompt.alias not in self._models:
            known = ", ".join(self._models)
            raise Refused("bad_request", f"model alias {prompt.alias[:60]!r} is not declared; there are {known}")
        if not shallow([prompt.messages, prompt.tools, prompt.shape.response_format]):
            raise Refused("bad_request", "the request is nested too deeply")
        call = ModelCall(**dict(prompt), seed=self._seed, role=self._role, trial=self._trial, call=self._calls,
                         deadline=self.deadline)  # fmt: skip
        self._calls += 1
        self._trajectory.request(call.messages, call.tools)
        begun = time.monotonic()
        reply = await self._gateway.complete(call)
        seconds = time.monotonic() - begun
        self.working_s += seconds
        self.steps += 1
        self.usage += reply.usage
        self.origins.add(reply.origin)
        self._trajectory.reply(reply, seconds)
        return reply

    def remark(self, text: str) -> None:
        """Record what the harness did to a request; at most so many, whatever is asked."""
        if self._remarks < MAX_NOTES:
            self._remarks += 1
            self._trajectory.note(text[:2000])

    async def _log(self, header: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        counter, note, by = header.get("counter"), header.get("note"), header.get("by", 1)
        if isinstance(counter, str) and isinstance(by, int):
            name = encodable(counter[:60])
            if name in self.counters or len(self.counters) < 50:
                self.counters[name] += max(-(10**6), min(10**6, by))
        elif isinstance(note, str) and self._notes < MAX_NOTES:
            self._notes += 1
            self._trajectory.note(note[:2000])
        return {}, b""

    async def _timed(self, work: Awaitable[Any]) -> Any:
        begun = time.monotonic()
        try:
            return await work
        finally:
            self.working_s += time.monotonic() - begun


def refused_shape(what: str, error: ValidationError) -> Refused:
    """A bad_request that names the first field that is wrong."""
    first = error.errors()[0]
    return Refused("bad_request", f"{what}: {'.'.join(map(str, first['loc']))}: {first['msg']}")


def _path(header: Mapping[str, Any]) -> str:
    path = header.get("path")
    if not isinstance(path, str) or not path or "\0" in path or len(path) > 4096:
        raise Refused("bad_request", "path is a string")
    return path


def _left(cap: int | None, used: int) -> int | None:
    return None if cap is None else max(0, cap - used)


def text_files(files: Mapping[str, str]) -> dict[str, File]:
    """Scaffold files as a sandbox takes them."""
    return {path: File(data=text.encode()) for path, text in files.items()}
