"""Run a shell command and see what it prints. Long output keeps its head and its tail."""

PARAMETERS = {
    "type": "object",
    "properties": {"command": {"type": "string", "description": "the command, run with bash -c"}},
    "required": ["command"],
}
OUTPUT_LIMIT = 12000
TIME_LIMIT = 120


def run(env, command):
    ran = env.exec(command, time_limit=TIME_LIMIT)
    text = ran.text
    if len(text) > OUTPUT_LIMIT:
        half, cut = OUTPUT_LIMIT // 2, len(text) - OUTPUT_LIMIT
        text = text[:half] + "\n[%d characters left out]\n" % cut + text[-half:]
    if ran.timed_out:
        return text + "\n[timed out after %d s]" % TIME_LIMIT
    return text if ran.returncode == 0 else text + "\n[exit code %s]" % ran.returncode
