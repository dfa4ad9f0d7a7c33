#!/usr/bin/env python3
import os
import subprocess
import sys
from pathlib import Path

assert os.environ["DEBIAN_FRONTEND"] == "noninteractive"
subprocess.Popen([sys.executable, "/solution/serve.py"], start_new_session=True, stdout=subprocess.DEVNULL)
site = Path("site")
(site / "old.html").unlink()
(site / "new.html").write_text("new")
(site / "seen.log").write_text("noise")
(site / "deep" / "cache" / "tmp").mkdir(parents=True)
(site / "deep" / "cache" / "tmp" / "file").write_text("noise")
tool = Path("/srv/tool.sh")
tool.write_text('#!/bin/sh\nbasename "$0"\n')
tool.chmod(0o755)
