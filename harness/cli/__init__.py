"""The command line: one module per verb, imported when it is called, so that `--help` costs nothing.

stdout is the result, stderr is progress. Exit codes: 0 done, 1 bug, 2 usage or config, 3 machine not ready,
4 threshold not met, 5 too many infrastructure faults, 130/143 interrupted and resumable.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

VERBS = {
    "check": "what this machine can do, and what to do about the rest",
    "run": "the loop: propose, measure, keep or revert",
    "eval": "score one scaffold on one suite",
    "show": "runs, one run, one candidate, one task",
    "diff": "text difference of two candidates, and their paired score difference",
    "claim": "open the sealed split once: best against seed",
    "export": "take a scaffold away, or a run as a report, JUnit, MLflow, Harbor, parquet",
    "adopt": "make an agent that you have already a scaffold, and try it",
    "tasks": "list the tasks, or check their quality",
    "ui": "MLflow on this project's runs",
    "serve": "a simulated model as an OpenAI-compatible server on loopback",
}


SPENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""Disk or open files are used up, or nothing may be written: the machine's lack, wherever it is met."""


class _Parser(argparse.ArgumentParser):
    """Errors in one line with a hint, exit 2; unknown verbs and options get "did you mean"."""

    def error(self, message: str) -> NoReturn:
        from harness.errors import did_you_mean

        word = message.rpartition(": ")[2].split()[0] if ": " in message else ""
        known = [option for action in self._actions for option in action.option_strings]
        hint = did_you_mean(word, known) if word.startswith("-") else ""
        self.exit(2, f"{self.prog}: {message}{hint}\nsee {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"selfharness {version('selfharness')}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        from harness.errors import did_you_mean

        print(f'harness: unknown verb "{verb}"{did_you_mean(verb, list(VERBS))}\nsee harness --help', file=sys.stderr)
        return 2
    module = importlib.import_module(f"harness.cli.{verb}")
    parser = _Parser(prog=f"harness {verb}", description=VERBS[verb])
    module.add_arguments(parser)
    return _call(module, parser.parse_intermixed_args(rest))


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:{width}}{text}" for name, text in VERBS.items())
    return (f"usage: harness VERB ...\n\nA language model improves the scaffold that it runs in; every change is measured.\n\n"
            f"{verbs}\n\nharness VERB --help says more; harness --version.")  # fmt: skip


def _call(module: ModuleType, arguments: argparse.Namespace) -> int:
    from harness.errors import HarnessError

    try:
        code: int = module.run(arguments)
        sys.stdout.flush()
        return code
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # the boundary: a bug of ours is one line on screen and a traceback on request
        if isinstance(error, OSError) and error.errno in SPENT:
            print(f"{error.filename or 'harness'}: {error.strerror}; what was finished is kept\n"
                  "make room, then do it again (a run: --resume)", file=sys.stderr)  # fmt: skip
            return 3
        if os.environ.get("HARNESS_TRACEBACK"):
            traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"harness: a bug: {type(error).__name__}: {error}\nin {where.name} ({where.filename}:{where.lineno})\n"
              "HARNESS_TRACEBACK=1 shows the whole traceback", file=sys.stderr)  # fmt: skip
        return 1
