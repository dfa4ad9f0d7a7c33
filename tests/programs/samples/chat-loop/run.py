import json, os, subprocess, urllib.request

here = os.path.dirname(os.path.abspath(__file__))
messages = [
    {"role": "system", "content": open(here + "/prompt.md").read()},
    {"role": "user", "content": os.environ["HARNESS_INSTRUCTION"]},
]
tools = [
    {
        "type": "function",
        "function": {
            "name": "bash",
            "description": "run",
            "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
        },
    }
]
while True:
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps({"model": "main", "messages": messages, "tools": tools}).encode(),
        {"Content-Type": "application/json"},
    )
    message = json.load(urllib.request.urlopen(request))["choices"][0]["message"]
    messages.append(message)
    if not message.get("tool_calls"):
        break
    for call in message["tool_calls"]:
        try:
            command = json.loads(call["function"]["arguments"])["command"]
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
            text = done.stdout + done.stderr
        except Exception as error:
            text = "error: %s" % error
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": text[:6000]})
