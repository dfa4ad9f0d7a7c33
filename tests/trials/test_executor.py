"""The executor: bounded, adaptive, longest first, cancellable; the breaker stops a broken machine and no broken task."""

import asyncio

import pytest

from harness.errors import InfraError, MachineError
from harness.executor import BREAKER, LocalExecutor
from harness.records import Trial, TrialSpec


def spec(task, attempt=0):
    return TrialSpec(candidate="c", task=task, seed=0, attempt=attempt)


def done(spec, outcome="scored", **more):
    return Trial(spec=spec, outcome=outcome, score=1.0 if outcome == "scored" else None, **more)


def run(executor, specs, run_trial):
    async def main():
        return [trial async for trial in executor.run(specs, run_trial)]

    return asyncio.run(main())


def test_never_more_than_the_concurrency_nor_than_the_models_let_through():
    now, most, ceiling = 0, [], 8

    async def trial(spec):
        nonlocal now, ceiling
        now += 1
        most.append(now)
        await asyncio.sleep(0.005)
        now -= 1
        ceiling = 2 if spec.attempt >= 20 else 8
        return done(spec)

    run(LocalExecutor(4, lambda: ceiling), [spec("a", n) for n in range(60)], trial)
    assert max(most[:15]) == 4
    assert max(most[-20:]) == 2


def test_faults_halve_the_lanes_and_finished_trials_give_them_back():
    executor, lanes = LocalExecutor(8), []

    async def trial(spec):
        lanes.append(executor.lanes)
        return done(spec, "infra_error" if spec.attempt in (1, 3) else "scored", detail=f"fault {spec.attempt}")

    run(executor, [spec("a", n) for n in range(60)], trial)
    assert min(lanes) <= 4
    assert executor.lanes == 8


def test_what_took_longest_starts_first_and_the_unknown_with_it():
    executor, order = LocalExecutor(1), []

    async def trial(spec):
        order.append(spec.task)
        return done(spec, wall_s={"short": 1.0, "long": 9.0}.get(spec.task, 5.0))

    run(executor, [spec("short"), spec("long")], trial)
    assert order == ["short", "long"]
    order.clear()
    run(executor, [spec("short", 1), spec("new"), spec("long", 1), spec("long", 2)], trial)
    assert order == ["new", "long", "long", "short"]


def test_five_faults_of_one_kind_in_a_row_stop_the_run_and_what_was_finished_is_kept():
    seen = []

    async def broken(spec):
        return done(
            spec, "infra_error" if spec.attempt >= 3 else "scored", detail="SandboxFault: docker: the engine is gone"
        )

    async def main():
        async for trial in LocalExecutor(1).run([spec(f"t{n % 2}", n) for n in range(40)], broken):
            seen.append(trial.outcome)

    with pytest.raises(InfraError, match="--resume"):
        asyncio.run(main())
    assert seen == ["scored"] * 3 + ["infra_error"] * BREAKER


def test_one_task_whose_image_is_missing_stops_no_other():
    async def trial(spec):
        return done(spec, "infra_error" if spec.task == "bad" else "scored", detail="SandboxFault: image x is not here")

    found = run(LocalExecutor(1), [spec("bad", n) for n in range(20)] + [spec("good", n) for n in range(5)], trial)
    assert sum(t.outcome == "scored" for t in found) == 5


def test_leaving_early_cancels_what_runs_and_waits_for_it():
    cleaned = []

    async def trial(spec):
        try:
            await asyncio.sleep(0 if spec.attempt == 0 else 30)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(spec.attempt)
        return done(spec)

    async def main():
        stream = LocalExecutor(4).run([spec("a", n) for n in range(9)], trial)
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert sorted(cleaned)[:4] == [0, 1, 2, 3]


def test_the_breaker_counts_over_blocks_however_small():
    async def main():
        executor, count = LocalExecutor(2), 0

        async def broken(spec):
            return done(spec, "infra_error", detail="ModelFault: connection: nobody answers")

        for block in range(4):
            async for _ in executor.run([spec("a", block), spec("b", block)], broken):
                count += 1
        return count

    with pytest.raises(InfraError, match="nobody answers"):
        asyncio.run(main())


@pytest.mark.parametrize("last", ["a machine that is not ready", "the breaker"])
def test_trials_that_end_with_the_one_that_stops_the_run_are_kept(last):
    """They are paid for, and a resumed run would pay for them again."""
    seen = []

    async def main():
        gate = asyncio.Event()

        async def trial(spec):
            await gate.wait()
            if spec.task == "good":
                return done(spec)
            if last == "the breaker":
                return done(spec, "infra_error", detail="SandboxFault: gone")
            raise MachineError("the key was refused")

        async def watch():
            async for found in LocalExecutor(12).run(
                [spec("b"), *(spec(f"a{n}") for n in range(5)), *(spec("good", n) for n in range(6))], trial
            ):
                seen.append(found.outcome)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        gate.set()
        await watching

    with pytest.raises((InfraError, MachineError)):
        asyncio.run(main())
    assert seen.count("scored") == 6


def test_an_image_that_one_task_lacks_is_no_shortage():
    executor = LocalExecutor(8)
    lanes = []

    async def trial(spec):
        lanes.append(executor.lanes)
        bad = spec.task == "bad"
        return done(spec, "infra_error" if bad else "scored", detail="ImageFault: x is not here" if bad else "")

    run(executor, [spec(("bad", "good")[n % 2], n) for n in range(40)], trial)
    assert set(lanes) == {8}
