"""Reaching the host: its files, environment, keys, network, kernel settings, devices."""

import os
import socket
import subprocess

import pytest

REACH = """
import json, os, sys
found = []
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            file.read(10)
        found.append(path)
    except OSError:
        pass
print(json.dumps(found))
"""


def test_host_files_are_not_there(arena, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("key")
    secret.chmod(0o644)
    paths = [str(secret), __file__, "/etc/shadow", "/root/.bashrc", "/var/run/docker.sock", "/run/selfharness.slots"]
    of_the_host = [] if arena.kind == "docker" else ["/etc/machine-id", "/var/lib/dpkg/status"]  # an image has its own
    found = arena.python(REACH, *paths, *of_the_host)
    assert (found == []) if arena.isolated else (str(secret) in found)


def test_account_names_and_homes_are_not_there(arena, tmp_path):
    """The accounts and folders of an image are its own; bwrap on the host's /usr has three accounts and no homes."""
    script = (
        "import json, os, pwd, sys\n"
        "homes = [p for p in ('/root', '/home', '/var', '/mnt', '/srv', '/run', '/boot', '/usr/local/bin') "
        "if os.path.isdir(p)]\n"
        "inside = [n for p in ('/home', '/mnt', '/srv', '/media', '/boot') if os.path.isdir(p) for n in os.listdir(p)]\n"
        "print(json.dumps([sorted(p.pw_name for p in pwd.getpwall()), homes, inside, os.path.isdir(sys.argv[1])]))"
    )
    users, homes, inside, reached = arena.python(script, str(tmp_path))
    assert reached is not arena.isolated
    if arena.isolated:
        assert inside == []
    if arena.kind in ("bwrap", "shared"):
        assert users == ["agent", "nobody", "root"]
        assert homes == []


ENVIRONMENTS = """
import json, os
hits = 0
for pid in os.listdir("/proc"):
    if pid.isdigit():
        for name in ("environ", "cmdline"):
            try:
                with open("/proc/%s/%s" % (pid, name), "rb") as file:
                    hits += b"CANARY" + b"-of-the-host" in file.read()
            except OSError:
                pass
print(json.dumps(hits))
"""


def test_environment_of_the_harness_is_hidden(arena):
    """Keys live in the harness's environment; a child of it stands for the harness, whose own is fixed at its start."""
    stand_in = subprocess.Popen(["sleep", "60"], env={"MODEL_API_KEY": "CANARY-of-the-host"})
    os.environ["MODEL_API_KEY"] = "CANARY-of-the-host"
    try:
        hits = arena.python(ENVIRONMENTS)
    finally:
        del os.environ["MODEL_API_KEY"]
        stand_in.kill()
        stand_in.wait()
    assert (hits == 0) if arena.isolated else (hits > 0)


CONNECT = """
import json, socket, sys
found = []
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_UNIX, "\\0" + sys.argv[2]),
                        (socket.AF_UNIX, sys.argv[3])):
    with socket.socket(family) as s:
        s.settimeout(1)
        try:
            s.connect(address)
            found.append(str(address))
        except OSError:
            pass
print(json.dumps(len(found)))
"""


def test_loopback_and_unix_sockets_of_the_host_refuse(arena, tmp_path):
    name = f"selfharness-attack-{os.getpid()}"
    path = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        named.bind(path)
        named.listen()
        reached = arena.python(CONNECT, str(server.getsockname()[1]), name, path)
    assert reached == (0 if arena.isolated else 3)


REACHABLE = """
import json, socket, sys
found = []
for address in sys.argv[2:]:
    try:
        socket.create_connection((address, int(sys.argv[1])), 1).close()
        found.append(address)
    except OSError:
        pass
print(json.dumps(found))
"""


def test_no_address_of_the_host_is_reached(arena):
    """Bridge, external and link addresses: whatever this machine has."""
    listed = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    addresses = [a for a in listed if ":" not in a] or ["127.0.0.1"]
    with socket.create_server(("0.0.0.0", 0)) as server:
        reached = arena.python(REACHABLE, str(server.getsockname()[1]), *addresses)
    assert (reached == []) if arena.isolated else (reached == addresses)


def test_loopback_of_its_own_works(jail):
    script = (
        "import json, socket\ns = socket.create_server(('127.0.0.1', 0))\n"
        "c = socket.create_connection(s.getsockname())\nprint(json.dumps(True))"
    )
    assert jail.python(script) is True


KERNEL = """
import json, os
opened = []
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/hostname",
             "/proc/sysrq-trigger", "/proc/sys/user/max_user_namespaces", "/proc/sys/net/ipv4/ip_forward",
             "/proc/1/oom_score_adj", "/proc/irq/default_smp_affinity"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        opened.append(path)
    except OSError:
        pass
print(json.dumps(opened))
"""


def test_kernel_settings_are_not_writable(arena):
    """Opened for writing, never written."""
    opened = arena.python(KERNEL)
    if arena.isolated:
        assert opened == []
    elif os.geteuid() == 0:
        assert "/proc/sys/kernel/core_pattern" in opened


def test_oom_score_cannot_be_lowered(jail):
    script = (
        "import json\ndef lowered():\n    try:\n        with open('/proc/self/oom_score_adj', 'w') as f:\n"
        "            f.write('-1000')\n            f.flush()\n    except OSError:\n        return False\n"
        "    return True\nprint(json.dumps([lowered(), open('/proc/self/oom_score_adj').read()]))"
    )
    lowered, score = jail.python(script)
    assert lowered is False
    assert int(score) == (1000 if jail.own_user else 0)


CALLS = r"""
import ctypes, errno, json, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
calls = {"unshare_user": (272 if x86 else 97, 0x10000000), "unshare_mount": (272 if x86 else 97, 0x20000),
         "setns": (308 if x86 else 268, 0, 0), "mount": (165 if x86 else 40, b"none", b"/tmp", b"tmpfs", 0, 0),
         "ptrace": (101 if x86 else 117, 16, 1, 0, 0), "bpf": (321 if x86 else 280, 0, 0, 0),
         "keyctl": (250 if x86 else 219, 0, -3, 0), "userfaultfd": (323 if x86 else 282, 0),
         "perf_event_open": (298 if x86 else 241, 0, 0, -1, -1, 0), "io_uring_setup": (425, 1, 0),
         "kexec_load": (246 if x86 else 104, 0, 0, 0, 0), "process_vm_readv": (310 if x86 else 270, 1, 0, 0, 0, 0, 0),
         "pidfd_getfd": (438, 0, 0, 0), "open_by_handle_at": (304 if x86 else 265, 0, 0, 0), "fsopen": (430, b"tmpfs", 0),
         "clone_newuser": (56 if x86 else 220, 0x10000011, 0, 0, 0, 0)}
answers = {}
for name, arguments in calls.items():
    if name == "clone_newuser" and not FORK:
        continue
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    if name == "clone_newuser" and result == 0:
        os._exit(0)
    answers[name] = errno.errorcode.get(ctypes.get_errno(), "") if result < 0 else "done"
ctypes.set_errno(0)
libc.syscall(435, 0, 0)
answers["clone3"] = errno.errorcode.get(ctypes.get_errno(), "")
print(json.dumps(answers))
"""


def test_dangerous_system_calls_are_refused(jail):
    answers = jail.python("FORK = True\n" + CALLS)
    assert answers.pop("clone3") == "ENOSYS"
    assert set(answers.values()) == {"EPERM"}, answers


HARMLESS = r"""
import ctypes, errno, json, os, platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
calls = {"unshare_user": (272 if x86 else 97, 0x10000000), "keyctl": (250 if x86 else 219, 0, -3, 0),
         "io_uring_setup": (425, 1, 0), "bpf": (321 if x86 else 280, 0, 0, 0), "fsopen": (430, b"tmpfs", 0)}
answers = {}
for name, arguments in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(*arguments)
    answers[name] = errno.errorcode.get(ctypes.get_errno(), "") if result < 0 else "done"
print(json.dumps(answers))
"""


def test_without_a_filter_the_kernel_answers(arena):
    """The part of the calls above that does no harm where it succeeds."""
    answers = arena.python(HARMLESS)
    if arena.isolated:
        assert set(answers.values()) == {"EPERM"}
    else:
        assert set(answers.values()) != {"EPERM"}


def test_threads_and_subprocesses_work_under_the_filter(jail):
    script = (
        "import json, subprocess, threading, multiprocessing\nout = []\n"
        "t = threading.Thread(target=lambda: out.append(1)); t.start(); t.join()\n"
        "out.append(subprocess.run(['true']).returncode)\n"
        "with multiprocessing.Pool(2) as p:\n    out += p.map(abs, [-3, -4])\nprint(json.dumps(out))"
    )
    assert jail.python(script) == [1, 0, 3, 4]


def test_devices_are_few(arena):
    script = (
        "import json, os, stat\nfound = []\nfor folder, _, names in os.walk('/dev'):\n    for n in names:\n"
        "        p = os.path.join(folder, n)\n        try:\n            m = os.stat(p).st_mode\n        except OSError:\n"
        "            continue\n        if stat.S_ISBLK(m) or n in ('mem', 'kmem', 'kvm', 'fuse', 'kmsg'):\n"
        "            found.append(n)\nprint(json.dumps(found))"
    )
    found = arena.python(script)
    assert (found == []) if arena.isolated else found


def test_commands_are_nobody(arena):
    """Where the harness is started by root, a plain subprocess is root."""
    user = arena.python("import json, os\nprint(json.dumps(os.geteuid()))")
    assert (user != 0) if arena.isolated else (user == os.geteuid())


def test_set_user_id_programs_gain_nothing(jail):
    async def body(box):
        script = "cp /usr/bin/id /app/id && chmod 6755 /app/id; /app/id -u; grep NoNewPrivs /proc/self/status"
        done = await box.exec(
            ["bash", "-c", script + "; su -c id root </dev/null; sudo -n id; mknod /app/d b 8 0; ls /app/d"]
        )
        lines = done.output.decode()
        assert lines.splitlines()[0].isdigit()
        assert lines.splitlines()[0] != "0"
        assert "NoNewPrivs:\t1" in lines
        assert "uid=0" not in lines
        assert "No such file" in lines

    jail.run(body)


def test_memory_of_the_kernel_is_closed(arena):
    """A few bytes of its symbols' addresses: zeros for those who may not know them."""
    script = (
        "import json\nwith open('/proc/kallsyms') as f:\n    lines = [f.readline() for _ in range(50)]\n"
        "print(json.dumps(any(int(line.split()[0], 16) for line in lines if line)))"
    )
    known = arena.python(script)
    assert (known is False) if arena.isolated else isinstance(known, bool)


@pytest.mark.parametrize("name", ["/proc/kcore", "/proc/kmsg", "/sys/kernel/debug", "/sys/fs/cgroup"])
def test_kernel_files_are_closed(jail, name):
    assert jail.python(REACH, name, name + "/memory") == []
