"""Sixteen lanes on however few cores: all right, nothing left open or running. The long form is bench_engine soak."""

from tests.benchmarks.bench_engine import cached, soak


def test_sixteen_lanes_leave_nothing_behind(capsys):
    assert soak(160), capsys.readouterr().out


def test_a_cached_trial_takes_less_than_ten_milliseconds_by_far(capsys):
    assert cached(30), capsys.readouterr().out
