# An agent in a few lines of shell: one question, and the answer into a file.
set -eu
python3 - <<'END' > answer.md
import json, os, urllib.request
body = {"model": "main", "input": os.environ["HARNESS_INSTRUCTION"], "instructions": open(os.environ["HERE"] + "/prompt.md").read()}
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/responses", json.dumps(body).encode(), {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request))["output"][0]["content"][0]["text"])
END
