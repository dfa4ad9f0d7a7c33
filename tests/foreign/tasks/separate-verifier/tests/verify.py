import json
import os
from pathlib import Path

page = Path("/srv/site", os.environ["WANTED"])
state = Path("/srv/state.json")
listing = Path("/logs/artifacts/listing.txt")
rewards = {
    "page": int(page.is_file() and "<title>Hello</title>" in page.read_text()),
    "state": int(state.is_file() and json.loads(state.read_text()) == {"pages": 1}),
    "collected": int(listing.is_file() and listing.read_text().split() == ["index.html"]),
}
Path("/logs/verifier/reward.json").write_text(json.dumps(rewards))
