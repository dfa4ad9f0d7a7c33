"""A small agent on the SDK: one tool, one prompt."""

import json

from harness_sdk import env, model, task

TOOLS = [{"type": "function", "function": {"name": "bash", "description": "Run a command.", "parameters": {
    "type": "object", "properties": {"command": {"type": "string", "description": "shell"}}}}}]  # fmt: skip
messages = [
    {"role": "system", "content": open("prompt.md").read()},
    {"role": "user", "content": task()["instruction"]},
]
while True:
    message = model.complete(messages, tools=TOOLS)["message"]
    messages.append(message)
    if not message.get("tool_calls"):
        break
    for call in message["tool_calls"]:
        try:
            output = env.exec(json.loads(call["function"]["arguments"])["command"]).text
        except (ValueError, KeyError) as error:
            output = f"error: {error}"
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": output[:8000]})
