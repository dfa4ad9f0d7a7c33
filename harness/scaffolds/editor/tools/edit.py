"""Replace a text that occurs exactly once in a file by another."""

PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "find": {"type": "string"}, "replace": {"type": "string"}},
    "required": ["path", "find", "replace"],
}


def run(env, path, find, replace):
    text = env.read(path).decode("utf-8")
    count = text.count(find)
    if count != 1:
        return "error: found %d times, wanted once; nothing was changed" % count
    env.write(path, text.replace(find, replace))
    return "edited %s" % path
