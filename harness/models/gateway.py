"""The gateway: every model call of a run goes through it. Keys, prices, budget, rate limit and retries live here.

Layers, in order: validate, reserve budget, adaptive rate limit, adapter, classify and retry, settle the price, account.
The adapter sends one request once; what may be tried again, when, and within which deadline is decided here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.budget import RUN_BUDGET, Admission, Budget, Reservation
from harness.draws import draw
from harness.errors import LimitReached, MachineError, ModelFault, UsageError
from harness.models.keys import redact
from harness.models.limiter import Limiter
from harness.models.prices import Price, price_of
from harness.records import ModelCall, ModelReply, ModelRequest, Origin, Usage
from harness.records.experiment import ModelChoice
from harness.seams import Model

MAX_TRIES = 5
TRY_LIMIT = 120.0
MAX_MESSAGES = 2000
MAX_PROMPT = 8 << 20
TYPICAL_REPLY = 1000
"""Tokens reserved for a reply that sets no max_tokens."""
PATIENCE = 3600.0
"""Seconds that a server may ask to wait (a quota by the hour); beyond, the run ends and can be resumed."""
LONG_REPLY, ENOUGH_REPLIES = 32_000, 20
"""How far such a reply may go beyond that (a model that reasons), until so many replies have shown what is usual."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One request that was sent for a call: what came of it ("ok" or the fault's kind), in how many seconds."""

    trial: str
    kind: str
    seconds: float


@dataclass(frozen=True)
class Route:
    """A declared alias: the model behind it, its adapter, its price (None: unpriced)."""

    choice: ModelChoice
    adapter: Model
    price: Price | None
    limiter: Limiter = field(default_factory=Limiter)


class ModelGateway:
    """Answers ModelCalls. Raises LimitReached (the run's budget), ModelFault (after retries), UsageError, MachineError."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        budget: Budget | None = None,
        *,
        on_attempt: Callable[[Attempt], None] = lambda attempt: None,
        backoff: float = 0.5,
    ) -> None:
        self._routes = dict(routes)
        self.budget = budget or Budget()
        self._on_attempt = on_attempt
        self._backoff = backoff
        self._origin: Origin | None = None
        self._longest = 2 * TYPICAL_REPLY
        """Tokens of the longest reply so far: twice that is how far a reply without max_tokens is thought to go, once enough
        replies were seen to go by."""
        self._replies = 0
        self._settled = asyncio.Event()
        self.exhausted = False
        """Whether the run's budget has refused a call: what is left of it is not worth going on for."""

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(self._routes)

    def capacity(self) -> int:
        """Calls that the models let through at once now: what more trials would wait for."""
        return sum(int(limiter.limit) for limiter in {id(r.limiter): r.limiter for r in self._routes.values()}.values())

    async def ready(self) -> None:
        """Wait until every server wants to be asked again: what starts before that spends its time limit waiting.

        Raises ModelFault("rate_limit") when one asks for more than PATIENCE.
        """
        told = 0.0
        while (held := max((route.limiter.held for route in self._routes.values()), default=0.0)) > 0:
            if held > PATIENCE:
                raise ModelFault(
                    "rate_limit", f"the server asks to wait {held / 3600:.1f} h: its quota is used up", retry_after=held
                )
            if held > told + 30:
                _LOG.warning("the server asks to wait %.0f s; new trials start then", held)
                told = held
            await asyncio.sleep(held)

    async def complete(self, call: ModelCall) -> ModelReply:
        """Answer one call within its deadline."""
        route = self._validate(call)
        held = await self._reserved(call, route)
        used = Usage()
        try:
            reply = await self._send(call, route)
            used = self._priced(reply.usage, route)
            self._longest = max(self._longest, used.tokens_out)
            self._replies += 1
        except LimitReached as reached:  # in a replay the recording knows where the budget had ended
            self.exhausted = self.exhausted or reached.limit == RUN_BUDGET
            raise
        finally:
            self.budget.settle(call.role, held, used)
            self._settled.set()
            self._settled = asyncio.Event()
        self._same_origin(reply.origin)
        return reply.model_copy(update={"usage": used})

    async def _reserved(self, call: ModelCall, route: Route) -> Reservation:
        """Wait until the budget holds this call beside those in flight. Raises LimitReached when it never will."""
        if (size := _prompt_size(call)) > MAX_PROMPT:
            raise ModelFault("context", f"a prompt of more than {MAX_PROMPT >> 20} MiB")
        estimate, tail = _estimate(call, size)
        if not call.sampling.max_tokens:
            known = 2 * self._longest
            tail += Usage(tokens_out=known if self._replies >= ENOUGH_REPLIES else max(known, LONG_REPLY))
        price = route.price.of if route.price is not None else None
        wanted = Reservation(
            estimate.tokens, price(estimate) if price else None, tail.tokens, price(tail) if price else 0.0
        )
        while self._admission(wanted) is Admission.LATER:
            try:
                async with asyncio.timeout(call.deadline - time.monotonic()):
                    await self._settled.wait()
            except TimeoutError:  # not the agent's time: calls near the cap go one after the other
                raise LimitReached(
                    RUN_BUDGET, "others held what is left of the run's budget until the time limit"
                ) from None
        return wanted

    def _admission(self, wanted: Reservation) -> Admission:
        try:
            return self.budget.reserve(wanted)
        except LimitReached:
            self.exhausted = True
            raise

    def _validate(self, call: ModelCall) -> Route:
        route = self._routes.get(call.alias)
        if route is None:
            raise ModelFault("bad_request", f"model alias {call.alias!r} is not declared")
        if not call.messages or len(call.messages) > MAX_MESSAGES:
            raise ModelFault("bad_request", f"{len(call.messages)} messages; want 1 to {MAX_MESSAGES}")
        for message in call.messages:
            if message.get("role") not in ("system", "developer", "user", "assistant", "tool"):
                raise ModelFault("bad_request", f"role {str(message.get('role'))[:40]!r}")
            if not isinstance(message.get("content"), str | list | None):
                raise ModelFault("bad_request", "content is a text, a list of parts, or null")
        for tool in call.tools:
            if tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
                raise ModelFault("bad_request", f"tool type {str(tool.get('type'))[:40]!r}: only functions that the scaffold "
                                 "runs itself are passed on; tools that the provider runs reach the network")  # fmt: skip
        return route

    async def _send(self, call: ModelCall, route: Route) -> ModelReply:
        """The deadline is the agent's doing (LimitReached) while its first request is out; before and after that it is the
        infrastructure's: it waited for the provider to let it through, or for one that had failed already.
        """
        last: ModelFault | None = None
        for number in range(1, MAX_TRIES + 1):
            left = call.deadline - time.monotonic()
            if left <= 0:
                raise last or LimitReached("time_limit")
            if (held := route.limiter.held) >= left:  # it cannot be answered in time, so its sandboxes need not wait
                raise last or ModelFault(
                    "rate_limit", f"the provider asks to wait {held:.0f} s, {left:.0f} s are left", retry_after=held
                )
            begun, sent = time.monotonic(), False
            try:
                async with asyncio.timeout(left), route.limiter.slot():
                    sent = True
                    reply = await self._try(call, route, min(call.deadline - time.monotonic(), TRY_LIMIT), number)
                    route.limiter.succeeded()
            except TimeoutError:
                if not sent:
                    last = last or ModelFault("rate_limit", "the provider let no call through before the time limit")
                raise last or LimitReached("time_limit") from None
            except ModelFault as fault:
                last = fault
                self._on_attempt(Attempt(call.trial, fault.kind, time.monotonic() - begun))
                await self._after(fault, number, call, route)
            else:
                self._on_attempt(Attempt(call.trial, "ok", time.monotonic() - begun))
                return reply
        raise AssertionError("unreachable: the last fault is raised in _after")

    async def _try(self, call: ModelCall, route: Route, limit: float, number: int) -> ModelReply:
        request = ModelRequest(
            model=route.choice.name, messages=call.messages, tools=call.tools, sampling=call.sampling, shape=call.shape,
            seed=call.seed, api_base=route.choice.api_base, reasoning_effort=route.choice.reasoning_effort, time_limit=max(0.05, limit),
            trial=call.trial, call=call.call, number=number,
        )  # fmt: skip
        try:
            async with asyncio.timeout(max(0.05, limit)):
                return await route.adapter.complete(request)
        except TimeoutError:
            raise ModelFault("timeout", f"no answer in {limit:.0f} s") from None

    async def _after(self, fault: ModelFault, number: int, call: ModelCall, route: Route) -> None:
        """Wait before the next try, or give up: what is not retryable, the last try, a wait beyond the deadline."""
        message = redact(str(fault))
        if fault.kind == "auth":
            raise MachineError(f'model "{route.choice.name}": the provider refused the key: {message[:200]}\n'
                               "check the key in the environment, then go on with --resume") from None  # fmt: skip
        if fault.kind == "rate_limit":
            route.limiter.limited(fault.retry_after)
        jitter = 0.5 + draw(call.seed, call.trial, "backoff", number)
        wait = fault.retry_after if fault.retry_after is not None else self._backoff * 2 ** (number - 1) * jitter
        if not fault.retryable or number >= MAX_TRIES or time.monotonic() + wait >= call.deadline:
            raise ModelFault(fault.kind, f"{message[:300]} (after {number} tries)", retry_after=fault.retry_after)
        await asyncio.sleep(wait)

    @staticmethod
    def _priced(usage: Usage, route: Route) -> Usage:
        return usage.model_copy(update={"calls": 1, "usd": None if route.price is None else route.price.of(usage)})

    def _same_origin(self, origin: Origin) -> None:
        if self._origin is None:
            self._origin = origin
        elif self._origin != origin:
            raise UsageError(f"models of one run have different origins ({self._origin} and {origin}); "
                             "their results cannot be compared, use one kind")  # fmt: skip


def build_routes(models: Mapping[str, ModelChoice], adapter_of: Callable[[ModelChoice], Model]) -> dict[str, Route]:
    """Routes by alias. Aliases of one server and model share a limiter."""
    limiters: dict[tuple[str, str | None], Limiter] = {}
    routes = {}
    for alias, choice in models.items():
        limiter = limiters.setdefault((choice.name, choice.api_base), Limiter())
        routes[alias] = Route(choice, adapter_of(choice), price_of(choice), limiter)
    return routes


def _prompt_size(call: ModelCall) -> int:
    """Bytes of all that is asked. Raises ModelFault for text that is no Unicode: no server can be sent that."""
    asked = [call.messages, call.tools, call.shape.response_format]
    try:
        return len(json.dumps(asked, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise ModelFault("bad_request", "the request holds half a character (a lone surrogate)") from None


def _estimate(call: ModelCall, size: int) -> tuple[Usage, Usage]:
    """What a call may use: a token per three bytes of prompt, and the longest reply that it allows. How far the prompt
    might go beyond it: no token is less than a byte.
    """
    prompt = size // 3 + 50
    expected = Usage(tokens_in=prompt, tokens_out=call.sampling.max_tokens or TYPICAL_REPLY)
    return expected, Usage(tokens_in=max(0, size - prompt))
