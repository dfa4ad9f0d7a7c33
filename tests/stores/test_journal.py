"""The journal keeps what it had: torn tails, a second writer, a full disk, another schema."""

import subprocess
import sys

import pytest

from harness.archive import fold
from harness.errors import MachineError, UsageError
from harness.journal import Journal, replay
from harness.records.events import MemoWritten, RunResumed, RunStarted


def started():
    return RunStarted(run="r", experiment="e", config="c", lock="l")


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.jsonl", tmp_path / "writer.lock") as opened:
        opened.append(started())
        opened.append(MemoWritten(round=1, text="a memo"))
    return tmp_path


def test_round_trip_and_numbers(journal):
    events = list(replay(journal / "journal.jsonl"))
    assert [event.seq for event in events] == [1, 2]
    assert events[1].text == "a memo"
    assert fold(events).memos == ((1, "a memo"),)


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_torn_last_line_is_tolerated_and_cut_by_the_next_writer(journal, cut):
    path = journal / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(list(replay(path))) == 1
    with Journal(path, journal / "writer.lock") as again:
        again.append(MemoWritten(round=1, text="again"))
    assert [getattr(event, "text", None) for event in replay(path)] == [None, "again"]


def test_a_damaged_line_in_the_middle_is_named(journal):
    path = journal / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"{broken\n" + lines[1])
    with pytest.raises(UsageError, match=r"journal\.jsonl:1: not a JSON object"):
        list(replay(path))


def test_another_schema_is_refused_with_its_number(journal):
    path = journal / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":99'))
    with pytest.raises(UsageError, match="schema 99"):
        list(replay(path))


def test_a_second_writer_is_refused_with_the_pid_of_the_first(journal):
    program = (
        "import sys, time; from pathlib import Path; from harness.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), Path(sys.argv[2])): print('held', flush=True); time.sleep(60)"
    )
    files = [str(journal / "journal.jsonl"), str(journal / "writer.lock")]
    holder = subprocess.Popen([sys.executable, "-c", program, *files], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=f"pid {holder.pid}"),
            Journal(*map(journal.__truediv__, ("journal.jsonl", "writer.lock"))),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()
    with Journal(journal / "journal.jsonl", journal / "writer.lock") as mine:
        mine.append(MemoWritten(round=2, text="the lock died with its holder"))


def test_a_full_disk_loses_nothing_that_was_written(small_disk):
    path = small_disk / "journal.jsonl"
    written = 0
    with Journal(path, small_disk / "writer.lock") as journal:
        journal.append(started())
        with pytest.raises(MachineError, match="nothing that was journalled is lost"):
            for _ in range(1000):
                journal.append(MemoWritten(round=1, text="x" * 5000))
                written += 1
    assert len(list(replay(path))) == 1 + written


def test_hours_are_counted_on_when_the_clock_was_set_back():
    at = [1000.0, 1060.0, 400.0, 460.0, 520.0]  # ten minutes back after the first, as a machine finds its time server
    events = [started().model_copy(update={"at": at[0]}), *(MemoWritten(round=1, text="x", at=when) for when in at[1:])]
    assert fold(events).active_s == 60 + 0 + 60 + 60
    resumed = RunResumed(finished_trials=0, at=100.0)
    assert fold([*events, resumed, MemoWritten(round=1, text="x", at=130.0)]).active_s == 180 + 30
