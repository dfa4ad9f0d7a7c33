"""A base image without a registry: Debian's or Ubuntu's own packages, by debootstrap, with the task runtime in it.

python -m harness.sandboxes.docker.base [--tag NAME] [--root FOLDER] [--no-import]

The same root serves both providers: as FOLDER for bwrap (sandbox.root) and, imported, as an image for docker
(sandbox.image). The mirror is the one that this machine's own apt sources name. Needs root and debootstrap.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness.errors import HarnessError, MachineError
from harness.hashing import digest_json
from harness.sandboxes.cache import cache_root
from harness.sandboxes.runtime import LOCK, install_packages

TAG = "selfharness/base:latest"
PACKAGES = ("python3", "git", "ca-certificates", "procps")
_RUNTIME = Path("opt/runtime")


def main(arguments: list[str] | None = None) -> int:
    """Make the root if it is not there, and import it. The root's folder and the image's name go to standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.sandboxes.docker.base", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--tag", default=TAG)
    parser.add_argument("--root", type=Path, help="where the root lies or is made; by default in the cache")
    parser.add_argument("--no-import", action="store_true", help="make the root only")
    chosen = parser.parse_args(arguments)
    try:
        root = make_root(chosen.root or cache_root() / "base-root")
        print(f"sandbox.root={root}")
        if not chosen.no_import:
            print(f"sandbox.image={import_root(root, chosen.tag)}")
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def make_root(root: Path) -> Path:
    """A complete root folder; one that is complete is left alone. Raises MachineError."""
    marked = root / _RUNTIME / "lock"
    if marked.is_file() and marked.read_bytes() == LOCK.read_bytes():
        return root
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise MachineError("a base image is made by root with debootstrap\ninstall it: apt-get install debootstrap")
    scratch = root.with_name(root.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    _debootstrap(scratch)
    _runtime(scratch)
    for folder in ("proc", "sys", "dev", "app"):
        (scratch / folder).mkdir(exist_ok=True)
    shutil.rmtree(root, ignore_errors=True)
    scratch.rename(root)
    return root


def _debootstrap(root: Path) -> None:
    mirror, codename = apt_mirror()
    line = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", codename, str(root)]
    done = subprocess.run([*line, *([mirror] if mirror else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise MachineError(f"debootstrap {codename}: {said[-1]}\nthe machine's apt sources must be reachable")
    for path in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "var/log"):
        shutil.rmtree(root / path, ignore_errors=True)
        (root / path).mkdir(parents=True)


def apt_mirror() -> tuple[str, str]:
    """The address of this machine's own release in its apt sources ("" for debootstrap's default), and its codename."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "bookworm").strip('"')
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in files:
        if path.is_file():
            for address, suites, components in _sources(path.read_text("utf-8", "replace")):
                if codename in suites and "main" in components:
                    return address, codename
    return "", codename


def _sources(text: str) -> list[tuple[str, list[str], list[str]]]:
    """(address, suites, components) of sources.list(5), in both of its formats."""
    found = []
    for line in text.splitlines():
        words = [w for w in line.split("#")[0].split() if not (w.startswith("[") or w.endswith("]"))]
        if len(words) >= 4 and words[0] == "deb":
            found.append((words[1], [words[2]], words[3:]))
    for stanza in text.split("\n\n"):
        fields = {key.lower(): value.split() for key, _, value in
                  (line.partition(":") for line in stanza.splitlines() if line[:1] not in ("#", " ", ""))}  # fmt: skip
        if "deb" in fields.get("types", ()) and fields.get("uris"):
            found.append((fields["uris"][0], fields.get("suites", []), fields.get("components", [])))
    return found


def _runtime(root: Path) -> None:
    """The task runtime for the root's own interpreter."""
    program = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
    done = subprocess.run(["chroot", str(root), "/usr/bin/python3", "-I", "-S", "-c", program],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise MachineError(f"{root}: its Python does not run: {done.stderr.strip()[:200]}")
    folder = root / _RUNTIME
    install_packages(folder, tuple(map(int, done.stdout.strip().split("."))), os.uname().machine)
    for name in ("python3", "python"):
        (folder / "bin" / name).symlink_to("/usr/bin/python3")
    (folder / "lock").write_bytes(LOCK.read_bytes())
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def import_root(root: Path, tag: str) -> str:
    """The root as an image, imported unless one of this content has the name already. Raises MachineError."""
    docker = shutil.which("docker")
    if docker is None:
        raise MachineError(
            "docker: the command is not there\ninstall it: apt-get install docker.io, or use --no-import"
        )
    changes = ["ENV PATH=/opt/runtime/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "ENV LANG=C.UTF-8",
               "WORKDIR /app"]  # fmt: skip
    made = [(root / "etc/debian_version").read_text(), root.stat().st_mtime_ns, LOCK.read_text(), changes]
    label = f"selfharness.base={digest_json(made)[:20]}"
    changes.append(f"LABEL {label}")
    listed = subprocess.run(
        [docker, "images", "-q", "--filter", f"label={label}", tag], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise MachineError(
            f"docker: {listed.stderr.strip()[:200]}\nstart the engine: dockerd, or systemctl start docker"
        )
    if listed.stdout.strip():
        return tag
    tar = subprocess.Popen(
        ["tar", "-C", str(root), "--numeric-owner", "--one-file-system", "-c", "."], stdout=subprocess.PIPE
    )
    line = [docker, "import", *(word for change in changes for word in ("--change", change)), "-", tag]
    done = subprocess.run(line, stdin=tar.stdout, capture_output=True, text=True, check=False)
    if tar.wait() or done.returncode:
        raise MachineError(f"docker import: {done.stderr.strip()[:200]}")
    return tag


if __name__ == "__main__":
    sys.exit(main())
