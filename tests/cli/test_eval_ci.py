"""harness eval as CI uses it: must_pass, quarantine, budgets, the summary page, and the exit codes."""

import json
import xml.etree.ElementTree as ET

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.suites import load_suite

SOLVED, FAILED = (
    "c03-csv-quote-regression",
    "c01-interval-merge-fix",
)  # by plain with the simulated model, on these seeds


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(**more):
        lines = [
            f"train = {json.dumps([SOLVED, FAILED])}",
            *(f"{key} = {json.dumps(value)}" for key, value in more.items()),
        ]
        (tmp_path / "ci.toml").write_text("\n".join(lines) + "\n")
        return str(tmp_path / "ci.toml")

    return make


@pytest.fixture
def idle(tmp_path):
    """A scaffold that does nothing."""
    (tmp_path / "idle").mkdir()
    (tmp_path / "idle" / "scaffold.toml").write_text('contract = 1\nentry = ["python3", "agent.py"]\n')
    (tmp_path / "idle" / "agent.py").write_text("pass\n")
    return str(tmp_path / "idle")


def ask(*words, scaffold="plain"):
    return main(["eval", scaffold, *words, "--seeds", "2", "--set", "sandbox.kind=bwrap"])


def test_a_must_pass_task_that_fails_all_fresh_reruns_is_red(suite, idle, capsys, tmp_path):
    assert ask(suite(must_pass=[FAILED]), "--json", "--junit", "out.xml", scaffold=idle) == 4
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["must_pass"] == {f"{FAILED}/0": 0, f"{FAILED}/1": 0}
    assert [t["spec"]["attempt"] for t in found["reruns"]] == [1, 2, 3] * 2
    assert f"must_pass: {FAILED}/0, {FAILED}/1 failed" in said.err
    cases = [case for case in ET.parse(tmp_path / "out.xml").iter("testcase") if case.get("classname") == FAILED]
    assert all("0 fresh re-runs passed" in case.findtext("system-out") for case in cases)


def test_a_must_pass_task_that_passes_costs_nothing_more(suite, capsys):
    assert ask(suite(must_pass=[SOLVED]), "--json") == 0
    assert json.loads(capsys.readouterr().out)["reruns"] == []


def test_quarantined_tasks_are_shown_and_decide_nothing(suite, capsys, tmp_path):
    assert ask(suite(quarantine=[FAILED]), "--min-score", "1", "--junit", "out.xml", "--summary", "page.md") == 0
    assert f"{FAILED} (quarantine)" in capsys.readouterr().out
    skipped = [case for case in ET.parse(tmp_path / "out.xml").iter("testcase") if case.find("skipped") is not None]
    assert {case.get("classname") for case in skipped} == {FAILED}
    assert "**passed**" in (tmp_path / "page.md").read_text()


def test_a_suite_that_contradicts_itself_is_refused(suite):
    with pytest.raises(UsageError, match="did you mean"):
        load_suite(suite(must_pass=["c03-csv-quote-regressio"]))
    with pytest.raises(UsageError, match="both must_pass and quarantine"):
        load_suite(suite(must_pass=[SOLVED], quarantine=[SOLVED]))


def test_a_budget_of_trials_ends_it_and_no_threshold_is_met_on_part_of_it(suite, capsys, tmp_path):
    path = suite()
    assert ask(path, "--budget", "trials=2", "--summary", "page.md") == 0
    assert "the budget ended: 2 of 4 trials were not finished" in capsys.readouterr().out
    assert "**not finished**" in (tmp_path / "page.md").read_text()
    assert ask(path, "--budget", "trials=2", "--min-score", "0") == 4
    assert "the budget ended before the evaluation did" in capsys.readouterr().err
    assert ask(path, "--budget", "hours=0.0000001") == 0
    assert "4 of 4 trials" in capsys.readouterr().out


def test_a_budget_of_tokens_ends_it(suite, capsys):
    assert ask(suite(), "--budget", "tokens=6000", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {t["outcome"] for t in found["trials"]} == {"cancelled"} or found["coverage"] < 1
    assert found["spent"]["tokens_in"] + found["spent"]["tokens_out"] <= 6000


@pytest.mark.parametrize("text", ["much", "usd=much", "calls=3", "trials=1.5"])
def test_a_budget_that_cannot_be_read_is_refused(suite, text, capsys):
    with pytest.raises(SystemExit) as ended:
        ask(suite(), "--budget", text)
    assert ended.value.code == 2
    assert "--budget" in capsys.readouterr().err


def test_a_baseline_of_an_unfinished_evaluation_is_not_kept(suite, tmp_path):
    assert ask(suite(), "--budget", "trials=2", "--update-baseline", "base.json") == 0
    assert not (tmp_path / "base.json").exists()
