#!/bin/bash
set -e
prefix=$(grep -o 'after `[A-Z]*_`' SETTINGS.md | grep -o '[A-Z]*_')
pinned=$(grep -o 'area `[a-z]*` are pinned' SETTINGS.md | cut -d'`' -f2)
cat > settings.py <<PY
def load(defaults, file_values, environ):
    merged = {**defaults, **file_values}
    for name in list(merged):
        value = environ.get("$prefix" + name.upper())
        if value and not name.startswith("${pinned}_"):
            merged[name] = value
    return merged
PY
