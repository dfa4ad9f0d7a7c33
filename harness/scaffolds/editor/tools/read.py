"""Read a text file, whole or from a line on."""

PARAMETERS = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "first_line": {"type": "integer", "description": "1 is the first", "default": 1},
        "lines": {"type": "integer", "default": 400},
    },
    "required": ["path"],
}


def run(env, path, first_line=1, lines=400):
    every = env.read(path).decode("utf-8", "replace").splitlines()
    shown = every[first_line - 1 : first_line - 1 + lines]
    rest = len(every) - (first_line - 1 + len(shown))
    return "\n".join(shown) + ("\n[%d more lines]" % rest if rest > 0 else "")
