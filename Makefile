# Two commands do everything from a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test setup bwrap image lint tasks-check bench grading lock clean

demo: setup  ## the whole loop with the simulated model, real sandboxes, MLflow on SQLite
	$(BIN)/harness run demo
	@echo "look:  $(BIN)/harness show last   |   $(BIN)/harness ui   (MLflow on http://127.0.0.1:5000)"

test: setup  ## the tests
	$(BIN)/python -m pytest -n 4 --dist loadfile

setup: .venv/ready bwrap

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)" >&2; exit 3; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

bwrap:
	@command -v bwrap >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq bubblewrap >/dev/null; } \
	  || { echo "bubblewrap is missing. Install it, then run make again:  sudo apt-get install bubblewrap   (Fedora: sudo dnf install bubblewrap)" >&2; exit 3; }

lint: setup  ## formatting, lint, types
	$(BIN)/ruff format --check harness tests
	$(BIN)/ruff check harness tests
	$(BIN)/mypy

tasks-check: setup  ## the task quality gate: every task, three seeds
	$(BIN)/harness tasks check

image: setup  ## a base image for docker without a registry, and the same root for bwrap: by debootstrap, as root
	$(BIN)/python -m harness.sandboxes.docker.base

bench: setup  ## timings, as medians with the floor beside them
	$(BIN)/python -m tests.benchmarks.bench_sandboxes
	$(BIN)/python -m tests.benchmarks.bench_engine

grading:  ## copy the shared grading code into the tasks that use it
	@for d in tasks/*/*/tests; do for f in tasks/grading*.py; do \
	  n=$$(basename $$f .py); if [ $$n = grading ] || grep -qE "(import|from) $$n" $$d/verify.py; then cp $$f $$d/; fi; done; done

lock:  ## resolve requirements.lock again: exact versions, hashes, no addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --universal --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q -o requirements.lock

clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache
