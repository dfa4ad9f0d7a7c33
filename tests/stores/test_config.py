"""Bad input gets one clear error."""

import pytest

from harness.config import changed_keys, config_digest, load_experiment, to_experiment
from harness.errors import UsageError

GOOD = {
    "name": "x",
    "models": {"main": {"name": "simulated/small"}},
    "suite": {"name": "demo"},
    "budget": {"rounds": 2},
}


def test_the_shipped_demo_loads_and_overrides_apply():
    experiment, given = load_experiment(
        "demo", ["gate.kind=strict", "budget.usd=2.5", "scaffold.start=plain"], "openai/x"
    )
    assert experiment.gate.kind == "strict"
    assert experiment.budget.usd == 2.5
    assert experiment.models["main"].name == "openai/x"
    assert b"simulated/medium" in given


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("gate.presett=x", 'gate.presett: unknown key (did you mean "preset"?)'),
        ("gate.kind=poool", "gate.kind: input should be 'pool'"),
        ("budget.rounds=-1", "budget.rounds: input should be greater than or equal to 0 (got -1)"),
        ("models.main.nam=1", 'models.main.nam: unknown key (did you mean "name"?)'),
        ("proposer.model=big", 'no model alias "big"'),
        ("seed", "want a.b=value"),
        ("name.x=1", "name is a value, not a table"),
    ],
)
def test_a_bad_override_is_one_clear_line(override, said):
    with pytest.raises(UsageError) as caught:
        load_experiment("demo", [override])
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("missing", ["name", "models", "suite", "budget"])
def test_what_is_required_is_named(missing):
    with pytest.raises(UsageError, match=f"{missing}: required"):
        to_experiment({k: v for k, v in GOOD.items() if k != missing}, "x.toml")


def test_an_empty_budget_is_refused():
    with pytest.raises(UsageError, match="set at least one"):
        to_experiment({**GOOD, "budget": {}}, "x.toml")


def test_a_missing_file_names_the_shipped_ones(tmp_path):
    with pytest.raises(UsageError, match='did you mean "demo"'):
        load_experiment("demoo")
    (tmp_path / "broken.toml").write_text("name = [")
    with pytest.raises(UsageError, match=r"broken\.toml: not valid TOML"):
        load_experiment(str(tmp_path / "broken.toml"))
    (tmp_path / "latin.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_experiment(str(tmp_path / "latin.toml"))


def test_resume_may_change_bounds_but_not_what_decides_scores():
    before = to_experiment(GOOD, "x")
    longer = to_experiment({**GOOD, "budget": {"rounds": 9}, "sandbox": {"concurrency": 4}}, "x")
    other = to_experiment({**GOOD, "suite": {"name": "demo", "seeds": 5}, "seed": 8}, "x")
    assert changed_keys(before, longer) == ()
    assert config_digest(before) == config_digest(longer)
    assert changed_keys(before, other) == ("seed", "suite.seeds")
    assert config_digest(before) != config_digest(other)
