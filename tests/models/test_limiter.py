"""The rate limit of one route: it recovers, shrinks in a storm, and no waiter that is cancelled takes a slot with it."""

import asyncio
import time

import pytest

from harness.errors import LimitReached, ModelFault
from harness.models.gateway import ModelGateway, build_routes
from harness.models.limiter import Limiter
from harness.records import ModelCall, ModelReply, Usage
from harness.records.experiment import ModelChoice


def call(number=0, deadline=30.0, trial="t"):
    return ModelCall(alias="main", messages=({"role": "user", "content": "hi"},), seed=number, trial=trial,
                     deadline=time.monotonic() + deadline)  # fmt: skip


def gateway_to(model, backoff=0.02):
    return ModelGateway(build_routes({"main": ModelChoice(name="openai/m")}, lambda choice: model), backoff=backoff)


class Narrow:
    """A server that answers so many at once and refuses the others."""

    def __init__(self, width):
        self.width, self.now, self.refused = width, 0, 0

    async def complete(self, request):
        self.now += 1
        try:
            if self.now > self.width:
                await asyncio.sleep(0.002)
                self.refused += 1
                raise ModelFault("rate_limit", "slow down")
            await asyncio.sleep(0.01)
        finally:
            self.now -= 1
        return ModelReply(message={"role": "assistant", "content": "x"}, usage=Usage(tokens_in=1), origin="live")


def test_a_limit_that_fell_low_grows_again_when_calls_go_through():
    async def main():
        model = Narrow(8)
        gateway = gateway_to(model)
        limiter = gateway._routes["main"].limiter
        limiter._limit = 1.0

        async def lane(number):
            for turn in range(25):
                await gateway.complete(call(turn, trial=f"t{number}"))

        await asyncio.gather(*(lane(number) for number in range(8)))
        return limiter.limit

    assert asyncio.run(main()) >= 4


def test_a_waiter_that_is_cancelled_as_it_is_woken_leaves_the_slot_to_the_next():
    async def main():
        limiter, entered, go = Limiter(start=1), [], asyncio.Event()

        async def hold(name):
            async with limiter.slot():
                entered.append(name)
                await go.wait()

        tasks = {}
        for name in "abc":
            tasks[name] = asyncio.create_task(hold(name))
            await asyncio.sleep(0)
        go.set()
        while limiter._in_flight:
            await asyncio.sleep(0)
        tasks["b"].cancel()
        await asyncio.wait_for(tasks["c"], 1)
        return entered

    assert asyncio.run(main()) == ["a", "c"]


def test_a_storm_of_refusals_shrinks_the_limit_until_it_is_over():
    now = [0.0]
    limiter = Limiter(start=16, clock=lambda: now[0])
    for _ in range(8):
        limiter.limited(None)
    assert limiter.limit == 16 * 0.8  # one episode
    for _ in range(60):
        now[0] += 0.3
        limiter.limited(None)
    assert limiter.limit < 2


class Down:
    """A server that refuses the first call for a long time, or hangs after its first answer."""

    def __init__(self, *faults):
        self.faults = list(faults)

    async def complete(self, request):
        if self.faults:
            raise self.faults.pop(0)
        await asyncio.sleep(60)


def test_waiting_for_a_provider_until_the_time_limit_is_no_fault_of_the_agent():
    async def refused():
        gateway = gateway_to(Down(ModelFault("rate_limit", "later", retry_after=30.0)))
        for _ in range(2):  # the one that was refused, and one that is held back because of it
            with pytest.raises(ModelFault, match="rate_limit"):
                await gateway.complete(call(deadline=0.3))

    async def hangs(*faults):
        await gateway_to(Down(*faults)).complete(call(deadline=0.3))

    asyncio.run(refused())
    with pytest.raises(ModelFault, match="server: gone"):
        asyncio.run(hangs(ModelFault("server", "gone")))
    with pytest.raises(LimitReached, match="time_limit"):
        asyncio.run(hangs())


def test_a_call_that_cannot_be_answered_in_time_is_refused_at_once():
    async def main():
        gateway = gateway_to(Down(ModelFault("rate_limit", "later", retry_after=300.0)))
        begun = time.monotonic()
        for _ in range(3):
            with pytest.raises(ModelFault, match="rate_limit"):
                await gateway.complete(call(deadline=60))
        return time.monotonic() - begun

    assert asyncio.run(main()) < 5


def test_what_is_new_waits_until_the_server_wants_to_be_asked_again(caplog):
    async def main(seconds):
        gateway = gateway_to(Down(ModelFault("rate_limit", "later", retry_after=seconds)))
        await gateway.ready()
        with pytest.raises(ModelFault):
            await gateway.complete(call(deadline=0.1))
        begun = time.monotonic()
        await gateway.ready()
        return time.monotonic() - begun

    assert 0.3 < asyncio.run(main(0.5)) < 5
    with pytest.raises(ModelFault, match="asks to wait 24.0 h"):
        asyncio.run(main(86_400.0))
