"""Write a text file, replacing what is there."""

PARAMETERS = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
    "required": ["path", "text"],
}


def run(env, path, text):
    return "wrote %d bytes to %s" % (env.write(path, text), path)
