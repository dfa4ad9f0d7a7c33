"""An agent that speaks Anthropic Messages, with its instructions in a skill file."""

import json
import os
import pathlib
import subprocess
import urllib.request

here = pathlib.Path(__file__).parent
tools = [{"name": "bash", "description": "Run a command.", "input_schema": {
    "type": "object", "properties": {"command": {"type": "string", "description": "shell"}}}}]  # fmt: skip
messages = [{"role": "user", "content": os.environ["HARNESS_INSTRUCTION"]}]
while True:
    body = {
        "model": "main",
        "max_tokens": 4096,
        "system": (here / "skills/shell.md").read_text(),
        "messages": messages,
        "tools": tools,
    }
    headers = {
        "Content-Type": "application/json",
        "anthropic-version": "2023-06-01",
        "x-api-key": os.environ["ANTHROPIC_API_KEY"],
    }
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(body).encode(), headers
    )
    reply = json.load(urllib.request.urlopen(request))
    messages.append({"role": "assistant", "content": reply["content"]})
    results = []
    for block in reply["content"]:
        if block["type"] == "tool_use":
            done = subprocess.run(
                ["bash", "-c", str(block["input"].get("command", "false"))], capture_output=True, text=True
            )
            results.append(
                {"type": "tool_result", "tool_use_id": block["id"], "content": (done.stdout + done.stderr)[:8000]}
            )
    if not results:
        break
    messages.append({"role": "user", "content": results})
