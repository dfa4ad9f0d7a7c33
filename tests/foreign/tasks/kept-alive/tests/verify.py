import json
import subprocess
from getpass import getuser
from pathlib import Path


def said(path):
    return Path(path).read_text().strip() if Path(path).is_file() else ""


tool = Path("/srv/tool.sh")
rewards = {
    "files": int([str(p) for p in sorted(Path("/srv/site").rglob("*")) if p.is_file()] == ["/srv/site/new.html"]),
    "tool": int(tool.is_file() and subprocess.run([tool], capture_output=True, text=True).stdout == "tool.sh\n"),
    "answer": int(said("/logs/artifacts/answer.txt") == "up"),
    "hook": int(said("/logs/artifacts/who.txt") == "daemon" and tool.is_file()),
    "user": int(getuser() == "nobody" and tool.is_file()),
}
Path("/logs/verifier/reward.json").write_text(json.dumps(rewards))
