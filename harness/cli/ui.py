"""harness ui: MLflow on this project's runs, with settings that start offline, quietly and small."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.util import find_spec

from harness.config import runs_folder
from harness.errors import MachineError
from harness.trackers.mlflow import ENVIRONMENT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--uri", help="another store than runs/mlflow.db")


def run(arguments: argparse.Namespace) -> int:
    store = runs_folder() / "mlflow.db"
    uri = arguments.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{store}"
    if uri == f"sqlite:///{store}" and not store.exists():
        raise MachineError(f"{store}: not there yet\nharness run demo makes it")
    if find_spec("mlflow") is None:
        raise MachineError("mlflow: not installed in this environment")
    environment = {**os.environ, **ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    print(f"http://{arguments.host}:{arguments.port}/#/experiments  (Ctrl-C ends it)", file=sys.stderr)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", arguments.host,
               "--port", str(arguments.port), "--workers", "1"]  # fmt: skip
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 0
