#!/bin/bash
set -e
python3 - <<'END'
import pathlib, re
text = pathlib.Path("SETTINGS.md").read_text()
prefix = re.search(r"after `([A-Z]+_)`", text)[1]
pinned = re.search(r"area `([a-z]+)` are pinned", text)[1]
pathlib.Path("settings.py").write_text(f"""PREFIX, PINNED = {prefix!r}, {pinned!r}


def load(defaults, file_values, environ):
    names = set(defaults) | set(file_values)
    variables = {{PREFIX + n.upper(): n for n in names if n.split("_")[0] != PINNED}}
    found = {{n: file_values.get(n, defaults.get(n)) for n in names}}
    found.update((variables[v], value) for v, value in environ.items() if v in variables and value != "")
    return found
""")
END
