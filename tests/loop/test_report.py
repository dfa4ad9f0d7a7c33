"""The report of a run: from the journal alone, whatever became of the run; and nothing in it is markup but ours."""

import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from harness.archive import fold
from harness.cli import main
from harness.journal import Journal, replay
from harness.junit import junit_xml, of_run
from harness.paths import RunPaths
from harness.plots import climb
from harness.records import Candidate, Check, Decision, Manifest, Proposal, Rejection, Trial, TrialSpec, Usage
from harness.records.events import (
    AuditDone,
    CandidateAdded,
    GateDecided,
    MemoWritten,
    ProposalMade,
    ProposalRefused,
    RoundStarted,
    RunStarted,
    TrialDone,
)
from harness.render import delta, headline, score, summary
from harness.report.ground import Ground
from harness.report.page import report_html
from harness.report.writer import ReportWriter

EVIL = '<script>alert("x")</script>&\x1b[31m\u202e'


class Page(HTMLParser):
    """The elements, the visible text, and whether every element that opens is closed."""

    def __init__(self, text):
        super().__init__()
        self.names, self.open, self.addresses, self.text = set(), [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name, attributes):
        self.names.add(name)
        self.addresses += [
            value for key, value in attributes if key in ("src", "href", "xlink:href", "srcset", "action")
        ]
        assert not any(key.startswith("on") for key, _ in attributes)
        if name not in ("meta", "br", "hr", "col"):
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.handle_starttag(name, attributes)
        self.open.pop()

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text += data


def self_contained(text):
    page = Page(text)
    assert not page.names & {"script", "link", "iframe", "img", "object", "embed", "base", "form"}
    assert all(address.startswith("#") for address in page.addresses)
    assert "@import" not in text and "url(http" not in text
    assert "default-src 'none'" in text.replace("&#x27;", "'")
    return page


def only_run(folder):
    return RunPaths(next(folder.glob("runs/*/journal.jsonl")).parent)


@pytest.fixture
def ran(project, monkeypatch):
    """A finished run of two rounds, with its claim."""
    done = project("run", "small.toml", "-q")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(project.folder)
    paths = only_run(project.folder)
    assert os.path.relpath(paths.report, project.folder) in done.stdout
    return paths


def test_a_run_leaves_a_report_with_the_words_and_figures_of_show(ran, capsys):
    text = ran.report.read_text()
    page, archive = self_contained(text), fold(replay(ran.journal))
    assert "svg" in page.names and "Origin: simulated" in page.text
    assert headline(archive) in page.text and headline(archive) in summary(archive)
    for decision in archive.decisions:
        assert delta(decision) in page.text and decision.candidate in page.text
    assert "ended (rounds)" in page.text and "diff --git" in page.text
    assert f"{archive.spent().tokens:,}" in page.text and "$0" in page.text
    assert "(2 train, 0 val, 1 test tasks)" in page.text
    assert main(["export", "last", "--report", "again.html"]) == 0
    assert (ran.root.parent.parent / "again.html").read_text() == text


def test_a_resume_with_nothing_left_mends_it_and_a_claim_rewrites_it(project, ran):
    assert project("claim", "last", "--again").returncode == 0
    assert "opened 2 times" in Page(ran.report.read_text()).text
    shutil.rmtree(ran.best)
    ran.report.unlink()
    assert project("run", "--resume", "last", "-q").returncode == 0
    assert "opened 2 times" in Page(ran.report.read_text()).text


def test_every_prefix_of_a_journal_can_be_rendered(ran):
    """A SIGKILL leaves a prefix, and maybe a torn line."""
    lines = ran.journal.read_bytes().splitlines(keepends=True)
    for cut in range(len(lines)):
        ran.journal.write_bytes(b"".join(lines[:cut]) + lines[cut][: len(lines[cut]) // 2])
        assert main(["export", str(ran.root), "--report", "cut.html"]) == 0
        page = self_contained((ran.root.parent.parent / "cut.html").read_text())
        assert "not ended" in page.text


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_has_a_report_and_a_killed_one_can_get_one(project, monkeypatch, number, code):
    running = subprocess.Popen([sys.executable, "-m", "harness", "run", "small.toml", "-q"], cwd=project.folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(project.folder.glob("runs/*/journal.jsonl"))
        if found and found[0].read_bytes().count(b"trial.done"):
            break
        time.sleep(0.05)
    running.send_signal(number)
    assert running.wait(60) == code
    paths = only_run(project.folder)
    assert paths.report.exists() == (number == signal.SIGINT)
    monkeypatch.chdir(project.folder)
    assert main(["export", "last", "--report", str(paths.report)]) == 0
    assert "harness run --resume" in self_contained(paths.report.read_text()).text


def test_a_run_of_no_rounds_says_that_nothing_was_measured(project, monkeypatch):
    assert project("run", "small.toml", "-q", "--rounds", "0", "--set", "claim.at_end=false").returncode == 0
    page = self_contained(only_run(project.folder).report.read_text())
    assert "Nothing was measured." in page.text and "No round was decided." in page.text
    assert "1 sealed task cannot carry a claim" in page.text
    monkeypatch.chdir(project.folder)
    assert main(["export", "last", "--junit", "out.xml"]) == 2


def test_without_lineage_and_lock_there_is_still_a_report_that_says_so(ran):
    shutil.rmtree(ran.lineage)
    ran.lock.unlink()
    for gone in (None, ran.experiment):
        if gone:
            gone.unlink()
        assert main(["export", "last", "--report", "bare.html"]) == 0
        page = self_contained((ran.root.parent.parent / "bare.html").read_text())
        assert "lock.json cannot be read" in page.text and "lineage cannot be read" in page.text
        assert headline(fold(replay(ran.journal))) in page.text
        assert ("simulated/medium" in page.text) == (gone is None)


def test_junit_of_a_run_is_of_its_best_unless_told(ran, capsys):
    archive = fold(replay(ran.journal))
    for words, candidate in (((), archive.best), (("seed",), archive.seed)):
        assert main(["export", "last", *words, "--junit", "out.xml"]) == 0
        root = ET.parse("out.xml").getroot()
        mine = [trial for trial in archive.all_trials if trial.spec.candidate == candidate]
        assert root.get("name") == f"{archive.run}/{candidate}"
        assert len(list(root.iter("testcase"))) == len(mine)
        assert len(list(root.iter("failure"))) == sum(t.counts and not t.passed for t in mine)
        assert {case.get("classname") for case in root.iter("testcase")} >= {"c01-interval-merge-fix"}


# --- made by hand: what no simulated run shows ---


def trial(candidate, task, value, *, attempt=0, outcome="scored", usd=0.0, **more):
    spec = TrialSpec(candidate=candidate, task=task, seed=0, attempt=attempt)
    usage = Usage(calls=1, tokens_in=100, tokens_out=10, usd=usd)
    return Trial(spec=spec, outcome=outcome, score=value, usage=usage, **more)


def events(origin="live", usd=None):
    """Three rounds of hostile texts: kept, refused, kept and rolled back; faults among the trials."""
    manifest = Manifest(title=EVIL, hypothesis=EVIL, mechanism=EVIL, root_cause=EVIL, evidence=(EVIL,), predicted_fixes=(EVIL,),
                        contract_test=EVIL)  # fmt: skip
    names = ["c0000", "c0001", "c0003"]
    added = [Candidate(id=name, parent=None if name == "c0000" else "c0000", commit="ab" * 20, digest="cd" * 32, title=EVIL,
                       round=int(name[1:]), components=(EVIL,)) for name in names]  # fmt: skip
    yield RunStarted(run="evil", experiment=EVIL, config="0" * 64, lock="1" * 64)
    yield CandidateAdded(candidate=added[0])
    yield TrialDone(round=0, trial=trial("c0000", "task-" + EVIL, 0.25, usd=usd, origin=origin))
    for number in (1, 2, 3):
        name = f"c000{number}"
        yield RoundStarted(round=number, parent="c0000")
        yield ProposalMade(
            round=number, proposal=Proposal(manifest=manifest, changes=(), usage=Usage(calls=1, usd=usd))
        )
        if number == 2:
            yield ProposalRefused(
                round=2, repair=0, rejection=Rejection(breach="leak", reason=EVIL, where=EVIL), final=True
            )
            yield GateDecided(decision=Decision(round=2, candidate=name, parent="c0000", verdict="invalid", reason="refused",
                                                breach="leak", detail=EVIL))  # fmt: skip
        else:
            yield CandidateAdded(candidate=added[names.index(name)])
            checks = (Check(name=EVIL, passed=False),)
            yield TrialDone(round=number, trial=trial(name, "task-" + EVIL, 0.75, checks=checks, detail=EVIL, usd=usd, origin=origin,
                                                      flags=("message_limit",)))  # fmt: skip
            yield TrialDone(round=number, trial=trial(name, "other", None, outcome="infra_error", detail="the engine went away " + EVIL,
                                                      attempt=1, usd=usd, origin=origin))  # fmt: skip
            yield GateDecided(decision=Decision(round=number, candidate=name, parent="c0000", verdict="keep", reason="upper",
                                                detail=EVIL, pairs=1, trials=2, mean=0.5, delta=0.1, lower=-0.1, upper=0.3,
                                                score=0.75, parent_score=0.25, fixed=(EVIL,)))  # fmt: skip
        if number == 3:
            yield AuditDone(round=3, champion=name, ancestor="c0001", passed=False, delta=-0.2, lower=-0.3, upper=-0.1,
                            train_gain=0.5, pairs=6)  # fmt: skip
        yield MemoWritten(round=number, text=EVIL)


def test_what_models_write_is_text_and_stays_text():
    archive = fold(events())
    text = report_html(archive, Ground(missing=EVIL), lambda old, new: f"+{EVIL}\n-{EVIL}")
    page = self_contained(text)
    assert page.text.count('<script>alert("x")</script>&\ufffd[31m\ufffd') >= 20
    assert not {"\x1b", "\u202e"} & set(text)
    assert len(list(ET.fromstring(junit_xml(of_run(archive, "c0001"))).iter("error"))) == 1


def test_unpriced_is_said_and_no_fault_is_hidden():
    page = self_contained(report_html(fold(events(usd=None)), Ground(), lambda old, new: None))
    assert "unpriced" in page.text and "$0" not in page.text
    assert "No score: 2 infra_error of 5 trials" in page.text and "2 message_limit" in page.text
    assert "the engine went away" in page.text
    priced = self_contained(report_html(fold(events(usd=0.5)), Ground(), lambda old, new: None))
    assert "unpriced" not in priced.text and "$4.00" in priced.text


def test_the_best_so_far_falls_back_when_an_audit_fails():
    archive = fold(events())
    marks = climb(archive)
    assert [mark.kind for mark in marks] == ["kept", "unmeasured", "kept"]
    assert [mark.best for mark in marks] == [0.75, 0.75, 0.75] and marks[2].rolled_back
    assert archive.best == "c0001" and score(marks[1].score) == "-"
    page = Page(report_html(archive, Ground(), lambda old, new: None))
    assert "rolled back to c0001" in page.text and "+70.0" in page.text  # train +50 less val -20


def test_a_full_disk_costs_a_warning(small_disk, capsys):
    paths = RunPaths(small_disk / "full")
    paths.root.mkdir()
    with Journal(paths.journal, paths.writer_lock) as journal:
        for event in events():
            journal.append(event)
    writer = ReportWriter(paths)
    try:
        (small_disk / "filler").write_bytes(b"x" * (2 << 20))
    except OSError:
        pass
    writer.close()
    said = capsys.readouterr().err
    assert "no report: " in said and "harness export full --report FILE" in said
    assert [path.name for path in paths.root.iterdir() if "report" in path.name] == []
    (small_disk / "filler").unlink()
    ReportWriter(paths).close()
    assert paths.report.exists()


def test_a_chart_that_cannot_be_drawn_costs_the_chart(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = self_contained(report_html(fold(events()), Ground(), lambda old, new: None))
    assert "No chart: " in page.text and "c0003" in page.text
