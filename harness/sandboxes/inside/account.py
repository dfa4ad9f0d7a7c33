"""Who untrusted code is, where the image decides that: its user by name or number, and folders that are made for it."""

# ruff: noqa: PTH101, PTH103, PTH112, PTH123, PTH208
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-any-generics
from __future__ import annotations

import os


def settle(config):
    """Complete the configuration: `uid`, `gid`, `groups` from `user`; then make `folders`. Raises ValueError, OSError.

    A user that is root stays the agent's own: there is nobody to switch to, and the agent is guarded as in a shared uid.
    """
    if "user" in config:
        uid, gid, groups, home = resolve(config["user"])
        config["home"] = home
        if uid:
            config.update(uid=uid, gid=gid, groups=groups)
    uid, gid = config.get("uid"), config.setdefault("gid", config.get("uid"))
    for path, mode in config.get("folders", ()):
        if not os.path.isdir(path):
            os.makedirs(path)
            os.chmod(path, mode)
            if uid:
                os.chown(path, uid, gid)


def resolve(user):
    """(uid, gid, groups, home) of an image's user: "", "name", "uid", "name:group", "uid:gid". Raises ValueError."""
    name, _, group = user.partition(":")
    name = "0" if name in ("", "root") else name
    found = next((row for row in rows("/etc/passwd") if len(row) > 5 and name in (row[0], row[2])), None)
    if found is None and not name.isdigit():
        raise ValueError(f"the image's user {name!r} is not in its /etc/passwd")
    uid, gid = (int(found[2]), int(found[3])) if found else (int(name), 0)
    listed = [row for row in rows("/etc/group") if len(row) > 3]
    if group:
        match = next((row for row in listed if group in (row[0], row[2])), None)
        if match is None and not group.isdigit():
            raise ValueError(f"the image's group {group!r} is not in its /etc/group")
        gid = int(match[2]) if match else int(group)
    groups = sorted({int(row[2]) for row in listed if found and found[0] in row[3].split(",")} - {gid})
    return uid, gid, groups, found[5] if found else "/"


def rows(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n").split(":") for line in file]
    except OSError:
        return []
