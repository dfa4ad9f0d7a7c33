"""Budgets are hard: with sixteen lanes and replies far beyond their estimate, a cap is passed by one call's tail at most."""

import asyncio
import random
import time

import pytest

from harness.archive import fold
from harness.budget import Admission, Budget, Reservation
from harness.config import to_experiment
from harness.errors import LimitReached
from harness.gateways import open_gateway
from harness.models.gateway import TYPICAL_REPLY, ModelGateway, build_routes
from harness.models.recording import file_of
from harness.records import ModelCall, ModelReply, Sampling, Trial, TrialSpec, Usage
from harness.records.events import TrialDone
from harness.records.experiment import ModelChoice
from tests.models.test_recording import conversation, written

PRICED = ModelChoice(name="openai/m", usd_per_mtok_in=1.0, usd_per_mtok_out=10.0)


class Talkative:
    """Replies of very different lengths and times, like a real model without max_tokens."""

    def __init__(self, seed, longest):
        self._draw, self._longest, self.sent, self.at_once, self.most = random.Random(seed), longest, [], 0, 0

    async def complete(self, request):
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self._draw.uniform(0, 0.004))
        self.at_once -= 1
        out = self._draw.randint(1, request.sampling.max_tokens or self._longest)
        self.sent.append(out)
        return ModelReply(
            message={"role": "assistant", "content": "x"}, usage=Usage(tokens_in=20, tokens_out=out), origin="simulated"
        )


def lanes(model, budget, sampling=None, choice=PRICED, calls=60):
    """Sixteen lanes, each calling until the budget refuses it."""

    async def lane(gateway, number):
        for turn in range(calls):
            call = ModelCall(alias="main", messages=({"role": "user", "content": "hi"},), sampling=sampling or Sampling(), seed=turn,
                             trial=f"t{number}", role="worker" if number % 4 else "proposer", deadline=time.monotonic() + 30)  # fmt: skip
            try:
                await gateway.complete(call)
            except LimitReached as reached:
                return reached.limit
        return "done"

    async def main():
        gateway = ModelGateway(build_routes({"main": choice}, lambda c: model), budget)
        return await asyncio.gather(*(lane(gateway, number) for number in range(16)))

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("seed", "longest", "cap"), [*((seed, 4000, 5.0) for seed in range(5)), (5, 16_000, 1.0), (6, 30_000, 1.0)]
)
def test_dollars_are_passed_by_one_tail_at_most_and_are_nearly_used_up(seed, longest, cap):
    model, budget = Talkative(seed, longest), Budget(usd=cap)
    ended = lanes(model, budget)
    tail = (max(model.sent) - TYPICAL_REPLY) * 10 / 1e6
    assert budget.total.usd <= cap + tail
    assert budget.total.usd >= 0.9 * cap
    assert set(ended) == {"run_budget"}
    assert model.most > 8 or cap < 5.0  # far from the cap, calls go side by side
    assert budget.spent["worker"].usd > 0
    assert budget.spent["proposer"].usd > 0


def test_with_max_tokens_a_cap_is_never_passed():
    model, budget = Talkative(1, longest=10**6), Budget(tokens=60_000)
    lanes(model, budget, Sampling(max_tokens=900))
    assert 55_000 <= budget.total.tokens <= 60_000


def test_unpriced_calls_hold_tokens_and_are_said_to_be_unpriced():
    model, budget = Talkative(2, longest=1000), Budget(usd=0.0001, tokens=30_000)
    assert set(lanes(model, budget, choice=ModelChoice(name="openai/unheard-of"))) == {"run_budget"}
    assert budget.total.usd is None
    assert budget.total.tokens <= 30_000 + 1000


def test_an_unpriced_call_does_not_hide_what_others_cost():
    budget = Budget(usd=1.0)
    budget.book("worker", Usage(usd=0.95))
    budget.book("proposer", Usage(usd=None))
    with pytest.raises(LimitReached):
        budget.reserve(Reservation(10, 0.1))


def test_a_call_that_only_tails_are_in_the_way_of_waits():
    budget = Budget(usd=1.0)
    first = Reservation(10, 0.5, 0, 0.4)
    assert budget.reserve(first) is Admission.NOW
    assert budget.reserve(Reservation(10, 0.2)) is Admission.LATER
    budget.settle("worker", first, Usage(usd=0.5))
    assert budget.reserve(Reservation(10, 0.2)) is Admission.NOW
    assert budget.reserve(Reservation(10, 0.4)) is Admission.LATER
    with pytest.raises(LimitReached):
        budget.reserve(Reservation(10, 0.6))


def test_a_call_that_waits_for_the_budget_ends_at_its_deadline_and_is_no_score():
    class Slow:
        async def complete(self, request):
            await asyncio.sleep(0.5)
            return ModelReply(
                message={"role": "assistant", "content": "x"},
                usage=Usage(tokens_in=1, tokens_out=1),
                origin="simulated",
            )

    async def main():
        gateway = ModelGateway(build_routes({"main": PRICED}, lambda c: Slow()), Budget(usd=0.03))
        calls = [ModelCall(alias="main", messages=({"role": "user", "content": "hi"},), seed=1, trial="t", deadline=time.monotonic() + wait)
                 for wait in (5, 0.2)]  # fmt: skip
        return await asyncio.gather(*(gateway.complete(call) for call in calls), return_exceptions=True)

    first, second = asyncio.run(main())
    assert isinstance(first, ModelReply)
    assert isinstance(second, LimitReached)
    assert second.limit == "run_budget"  # a cap of the run cancels; time_limit would be a score of 0


class Dense:
    """A model whose tokens are short: one a character, as in Chinese."""

    async def complete(self, request):
        await asyncio.sleep(0.002)
        tokens = sum(len(part) for message in request.messages for part in message.values())
        usage = Usage(tokens_in=tokens, tokens_out=50)
        return ModelReply(message={"role": "assistant", "content": "x"}, usage=usage, origin="simulated")


@pytest.mark.parametrize(
    "prompt", [{"content": "请修好这个模块" * 1000}, {"content": "x", "reasoning_content": "0123456789" * 700}]
)
def test_prompts_of_short_tokens_and_what_is_carried_back_are_counted(prompt):
    budget = Budget(tokens=60_000)

    async def lane(gateway, number):
        for turn in range(20):
            call = ModelCall(alias="main", messages=({"role": "assistant", **prompt},), sampling=Sampling(max_tokens=50), seed=turn,
                             trial=f"t{number}", deadline=time.monotonic() + 30)  # fmt: skip
            try:
                await gateway.complete(call)
            except LimitReached:
                return

    async def main():
        gateway = ModelGateway(build_routes({"main": PRICED}, lambda c: Dense()), budget)
        await asyncio.gather(*(lane(gateway, number) for number in range(16)))

    asyncio.run(main())
    assert 50_000 <= budget.total.tokens <= 60_000 + 7_000  # no more than what one prompt went beyond its estimate


def test_a_resumed_run_has_paid_for_what_was_cut_off_and_for_its_memos(tmp_path, monkeypatch):
    """Killed as often as you like, a run does not spend its budget twice."""
    monkeypatch.setenv("OPENAI_API_KEY", "no-key-at-all")
    key = "c0000/t/0-0"
    written(tmp_path, list(conversation(2, key)))  # cut off by a kill
    written(tmp_path, list(conversation(3, key)))
    written(tmp_path, list(conversation(4, "c0000/t/1-0")))  # cancelled by a cap: in no event
    written(tmp_path, list(conversation(1, "memo/r01")))
    file_of(tmp_path, key).open("ab").write(b'{"trial": "torn')
    main = {"name": "openai/m", "usd_per_mtok_in": 1e6, "usd_per_mtok_out": 0}
    experiment = to_experiment(
        {"name": "x", "models": {"main": main}, "suite": {"name": "s"}, "budget": {"usd": 100}}, "test", []
    )
    spec = TrialSpec(candidate="c0000", task="t", seed=0, attempt=0)
    trial = Trial(spec=spec, outcome="scored", score=1.0, usage=Usage(calls=3, tokens_in=15, usd=15.0))
    budget = open_gateway(experiment, fold([TrialDone(round=0, trial=trial)]), tmp_path).budget
    assert (budget.spent["worker"].calls, budget.spent["worker"].tokens, budget.spent["worker"].usd) == (
        2 + 3 + 4,
        45,
        45.0,
    )
    assert (budget.spent["proposer"].calls, budget.spent["proposer"].usd) == (1, 5.0)


def test_the_cap_that_refused_is_named():
    for cap, wanted in ((Budget(usd=0.1, tokens=10**6), "usd"), (Budget(usd=100.0, tokens=10), "tokens")):
        assert cap.refused == ""
        with pytest.raises(LimitReached):
            cap.reserve(Reservation(100, 0.5))
        assert cap.refused == wanted
