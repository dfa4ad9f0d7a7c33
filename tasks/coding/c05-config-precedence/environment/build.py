"""Instances of c05: a settings loader to write, and a long document with an exception near its end."""

import argparse
import json
import pathlib
import random

AREAS = ["cache", "mail", "search", "upload", "billing", "export", "login", "queue"]
KEYS = ["host", "port", "retries", "timeout", "level", "region", "limit", "owner", "path", "mode"]
REMARKS = ["It was introduced with the second release.", "Operators may change it without a restart.",
           "Its value is shown on the status page.", "It has been renamed once; the old name is gone.",
           "Ask the owning team before you change it.", "A wrong value is reported when the service starts.",
           "The default suits small installations.", "It does not affect stored data."]

HEADER = """# Settings of the service

This document describes every setting. A setting has a name of the form area_key. Its value comes from three places:

1. the defaults that ship with the service,
2. the settings file, which overrides the defaults,
3. the environment, which overrides the file. The variable of a setting is its name in upper case after `{prefix}_`.

`load(defaults, file_values, environ)` in settings.py takes three dictionaries of strings and returns one that holds every
setting named in `defaults` or `file_values`. Variables of other names are not settings.

## The settings, one by one

"""

ENDING = """
## Notes for operators

The order above has two exceptions. Settings of the area `{pinned}` are pinned: the environment does not override them.
An environment variable that is set but empty counts as not set.
"""

MODULE = """# The settings loader; SETTINGS.md says what it must do.


def load(defaults, file_values, environ):
    return dict(defaults)
"""


def reference(defaults, file_values, environ, prefix, pinned):
    merged = {**defaults, **file_values}
    for name in merged:
        value = environ.get(f"{prefix}_{name.upper()}")
        if value and not name.startswith(pinned + "_"):
            merged[name] = value
    return merged


def build(seed):
    rng = random.Random(f"c05:{seed}")
    areas = rng.sample(AREAS, 6)
    pinned, prefix = rng.choice(areas), rng.choice(["APP", "SVC", "NODE", "CORE"])
    names = [f"{area}_{key}" for area in areas for key in rng.sample(KEYS, 7)]
    parts = []
    for name in names:
        remarks = " ".join(rng.sample(REMARKS, 3))
        parts.append(f"### {name}\n\nThe {name.partition('_')[2]} of the {name.partition('_')[0]}. {remarks}\n"
                     f"Default: {rng.randrange(1, 90)}.\n")
    document = HEADER.format(prefix=prefix) + "\n".join(parts) + ENDING.format(pinned=pinned)
    free = [n for n in names if not n.startswith(pinned + "_")]
    held = [n for n in names if n.startswith(pinned + "_")]
    a, b, c = rng.sample(free, 3)
    p = rng.choice(held)
    cases = {
        "file-over-default": [[{a: "1", b: "2"}, {a: "9", c: "3"}, {}]],
        "environment-over-file": [[{a: "1"}, {a: "2"}, {f"{prefix}_{a.upper()}": "3", "HOME": "/x", f"{prefix}_OTHER": "4", a: "5"}],
                                  [{a: "1", b: "2"}, {}, {f"{prefix}_{b.upper()}": "8"}]],
        "pinned": [[{p: "1", a: "0"}, {p: "2"}, {f"{prefix}_{p.upper()}": "3", f"{prefix}_{a.upper()}": "4"}], [{p: "1"}, {}, {f"{prefix}_{p.upper()}": "3"}]],
        "empty-variable": [[{a: "1"}, {a: "2"}, {f"{prefix}_{a.upper()}": ""}]],
    }
    expected = {name: [[*args, reference(*args, prefix, pinned)] for args in found] for name, found in cases.items()}
    return {"settings.py": MODULE, "SETTINGS.md": document}, {"expected.json": json.dumps(expected) + "\n"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for folder, made in zip(("files", "instance"), build(arguments.seed)):
        for name, text in made.items():
            target = arguments.out / folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)


if __name__ == "__main__":
    main()
