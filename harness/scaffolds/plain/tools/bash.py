"""Run a shell command in the working folder and see what it prints."""

PARAMETERS = {
    "type": "object",
    "properties": {"command": {"type": "string", "description": "the command, run with bash -c"}},
    "required": ["command"],
}
OUTPUT_LIMIT = 2000
TIME_LIMIT = 60


def run(env, command):
    ran = env.exec(command, time_limit=TIME_LIMIT)
    text = ran.text
    if len(text) > OUTPUT_LIMIT:
        text = text[:OUTPUT_LIMIT] + "\n[%d characters left out]" % (len(text) - OUTPUT_LIMIT)
    if ran.timed_out:
        return text + "\n[timed out after %d s]" % TIME_LIMIT
    return text if ran.returncode == 0 else text + "\n[exit code %s]" % ran.returncode
