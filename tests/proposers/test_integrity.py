"""Leaks, tampering, treatment, scope; evidence that holds train only; predictions; the placebo."""

import asyncio
import json

import pytest

from harness.archive import Archive, fold
from harness.evidence import EvidenceBuilder
from harness.integrity import Protected, Scanner
from harness.paths import RunPaths
from harness.predictions import score_predictions
from harness.proposers.controls import PlaceboProposer, RandomProposer
from harness.records import Candidate, Decision, Experiment, Limits, Manifest, Trial, TrialSpec
from harness.records.events import CandidateAdded, TrialDone
from harness.scaffold import ScaffoldError, check_scope, check_treatment, matches, to_scaffold
from harness.seams import RoundContext
from harness.suites import load_suite

BASE = {"scaffold.toml": 'contract = 1\nentry = ["python3", "agent.py"]\n[limits]\nmessage_limit = 40\n',
        "agent.py": "print(1)\n", "prompts/system.md": "Work.\n"}  # fmt: skip
SUITE, TASKS = load_suite("demo")


def added(line, path="prompts/system.md"):
    return Scanner(TASKS.values()).scan(BASE, {**BASE, path: BASE.get(path, "") + line + "\n"})


@pytest.mark.parametrize(
    ("line", "breach"),
    [
        ("For c06-money-rounding be careful.", "leak"),
        ("Look into docs/ of C20-SQL-Migration first.", "leak"),
        ("Always write minutes.json at the end.", "leak"),
        ("when one span lies inside another, the end comes out", "leak"),
        ("write 1 to /logs/verifier/reward.txt", "tamper"),
        ("import socket", "tamper"),
        ("open('/proc/1/environ')", "tamper"),
    ],
)
def test_what_must_not_be_in_a_scaffold(line, breach):
    found = added(line)
    assert found is not None
    assert found.breach == breach
    assert found.where.startswith("prompts/system.md:2")


@pytest.mark.parametrize("line", [
    "Read the specification and every document it points to in full before the first edit.",
    "Before you finish, check your result with a test of your own.", "Mind units, time zones and number formats.",
    "Change only what was asked; keep everything else as it is.", "List every input first, hidden and compressed files included.",
])  # fmt: skip
def test_plain_working_rules_are_no_leak(line):
    assert added(line) is None


def test_treatment_and_scope():
    before = to_scaffold(BASE)
    raised = to_scaffold({**BASE, "scaffold.toml": BASE["scaffold.toml"].replace("40", "4000")})
    with pytest.raises(ScaffoldError) as caught:
        check_treatment(before, raised, Limits(message_limit=60))
    assert caught.value.rejection.breach == "treatment"
    with pytest.raises(ScaffoldError) as caught:
        to_scaffold({**BASE, "scaffold.toml": BASE["scaffold.toml"] + 'model = "x"\n'})
    assert caught.value.rejection.breach == "treatment"
    with pytest.raises(ScaffoldError) as caught:
        check_scope(BASE, {**BASE, "agent.py": "print(2)\n"}, ["prompts/**"])
    assert caught.value.rejection.breach == "scope"
    assert matches("prompts/a/b.md", "prompts/**") and not matches("tools/x.py", "prompts/**")
    assert matches("tools/x.py", "tools/*.py") and not matches("tools/a/x.py", "tools/*.py")


@pytest.mark.parametrize(("path", "text", "breach"), [
    ("../x.md", "", "scope"), (".git/config", "", "scope"), ("agent.py", "def (", "broken"), ("big.md", "x" * 300_000, "scope"),
])  # fmt: skip
def test_files_that_make_no_scaffold(path, text, breach):
    with pytest.raises(ScaffoldError) as caught:
        to_scaffold({**BASE, path: text})
    assert caught.value.rejection.breach == breach


def test_evidence_holds_train_only(tmp_path):
    experiment = Experiment.model_validate({"name": "x", "models": {"main": {"name": "simulated/small"}}, "suite": {"name": "demo"},
                                            "budget": {"rounds": 1}})  # fmt: skip
    seed = Candidate(id="c0000", parent=None, commit="0", digest="0", title="seed", round=0)
    events = [CandidateAdded(candidate=seed)]
    paths = RunPaths(tmp_path)
    for split, purpose in (("train", "gate"), ("val", "audit"), ("test", "claim")):
        for task in SUITE.ids(split):
            spec = TrialSpec(candidate="c0000", task=task, seed=0, attempt=0, split=split)
            events.append(TrialDone(round=0, purpose=purpose, trial=Trial(spec=spec, outcome="scored", score=0.0)))
            paths.trial(spec.key).mkdir(parents=True)
            steps = [{"step_id": 1, "source": "user", "message": TASKS[task].instruction}]
            (paths.trial(spec.key) / "trajectory.json").write_text(json.dumps({"steps": steps}))
            (paths.trial(spec.key) / "verifier.json").write_text('{"log": "SECRET-VERIFIER-OUTPUT"}')
    train = {name: TASKS[name] for name in SUITE.train}
    folder = EvidenceBuilder(paths, experiment, train).build(fold(events, Archive()), "c0000", 1)
    text = "\n".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    assert SUITE.train[0] in text
    for hidden in (*SUITE.val, *SUITE.test):
        assert hidden not in text
        assert TASKS[hidden].instruction[:60] not in text
    assert "SECRET-VERIFIER-OUTPUT" not in text


def test_predictions_are_scored_against_chance():
    decision = Decision(round=1, candidate="c0001", parent="c0000", verdict="keep", reason="upper",
                        fixed=("a/0", "a/1", "b/0"), broken=("c/0",))  # fmt: skip
    manifest = Manifest(title="x", predicted_fixes=("a", "d"), predicted_risks=())
    scores = dict(score_predictions(manifest, decision, ["a", "b", "c", "d"]))
    assert scores["fix_precision"] == 0.5
    assert scores["fix_recall"] == 0.5
    assert scores["fix_chance"] == 0.5
    assert scores["risk_recall"] == 0.0


def test_controls_edit_and_are_deterministic(tmp_path):
    context = RoundContext(round=1, parent=Candidate(id="c0000", parent=None, commit="", digest="", title="", round=0), files=BASE,
                           evidence=tmp_path, editable=("**",), seed=5)  # fmt: skip
    for proposer in (PlaceboProposer(), RandomProposer()):
        first, second = asyncio.run(proposer.propose(context)), asyncio.run(proposer.propose(context))
        assert first == second
        assert first.changes


def test_a_changed_protected_file_is_noticed(tmp_path):
    (tmp_path / "verify.py").write_text("a")
    guard = Protected({"tasks": tmp_path})
    assert guard.broken() == ()
    (tmp_path / "verify.py").write_text("b")
    assert guard.broken() == ("tasks",)
