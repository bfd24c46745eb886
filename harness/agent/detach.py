# SPDX-License-Identifier: Apache-2.0
"""Starting the daemon so that it outlives the login: by systemd where that can, else by a double fork."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import Callable, Sequence

from .paths import Paths
from .processes import MARKER
from .server import dial
from .system import AgentError, Tree

#: An emulated board, just booted, reads Python from its disk and takes its time.
START_S = 40.0
#: A machine that still boots may have jobs before ours, and one of them may hang. Together with START_S this is less
#: than a controller waits for an answer.
QUEUED_S = 10.0
_LOG = "daemon.log"
_MAX_LOG = 1 << 20
#: mixed: SIGTERM goes to the supervisor alone, which has the worker put everything back.
_UNIT = ("--property=KillMode=mixed",)
#: Wishes that an older systemd refuses to hear of, those of the newest last. A load that was killed because memory ran
#: out ends as a load, not the unit that it is in (systemd 243). And as long as we live the children of the root cgroup
#: have the files of cpuset, whatever systemd reloads meanwhile: else that would end a partition (systemd 244).
_WISHES = ("--property=OOMPolicy=continue", "--property=Delegate=cpuset")
#: How often systemd is asked what became of the unit, until the daemon answers: of the time a fifth at most.
_ASK_S = 0.25
_ASK_SHARE = 5
#: What becomes of a unit.
_GONE, _QUEUED, _BEGUN = range(3)
#: What init may execute under SELinux's targeted policy. A home's, /tmp's, /var/lib's and unlabelled files are not.
_EXECUTABLE_TYPES = ("bin_t", "usr_t", "lib_t")


def self_command() -> tuple[list[str], dict[str, str]]:
    """How to execute this very agent again: ``(argv, environment)``, from a zip or from a package's folder."""
    package = os.path.dirname(os.path.abspath(__file__))
    above = os.path.dirname(package)
    if os.path.isfile(above):
        return [sys.executable, "-I", "-B", above], {}
    name = __name__.rpartition(".")[0]
    for _ in range(name.count(".")):
        above = os.path.dirname(above)
    return [sys.executable, "-B", "-m", name], {"PYTHONPATH": above}


def new_marker() -> str:
    return os.urandom(16).hex()


def start(paths: Paths, idle_s: float) -> None:
    """Start the daemon and wait until it answers. :class:`AgentError` with the end of its log if it does not."""
    argv, more = self_command()
    argv += ["start", "--foreground", "--idle", f"{idle_s:g}", "--state", paths.state, "--runtime", paths.runtime]
    argv += ["--deploy", paths.deploy, "--socket", paths.socket]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **more, MARKER: new_marker()}
    if os.environ.get("HOME"):
        environment["HOME"] = os.environ["HOME"]
    if init_may_execute(Tree(), argv[0]):
        unit = f"isolbench-agent-{environment[MARKER][:8]}"
        if _by_systemd(argv, environment, unit):
            if _answers(paths, lambda: _state_of(unit)):
                return
            _systemctl("stop", "--no-block", unit)  # it must not come up later, beside the other
    log = os.path.join(paths.state, _LOG)
    _by_double_fork(argv, environment, log)
    if not _answers(paths, lambda: _BEGUN):
        tail = (Tree().read_bytes(log) or b"")[-2000:].decode("utf-8", "replace").strip()
        what = f"the agent did not start within {START_S:g} s"
        if not tail:  # it has come to nothing yet: a machine that is this slow, mostly while it boots, is asked again
            raise AgentError("infrastructure", "slow", f"{what}, and said nothing")
        raise AgentError("bug", "start", f"{what}: {tail}")


def _answers(paths: Paths, state: Callable[[], int]) -> bool:
    """Whether the daemon can be reached, soon; False at once when it is gone, or has been queued for too long."""
    began_s = time.monotonic()
    ask_s = began_s + _ASK_S
    while time.monotonic() < began_s + START_S:
        sock = dial(paths.socket)
        if sock is not None:
            sock.close()
            return True
        asked_s = time.monotonic()
        if asked_s >= ask_s:
            now = state()
            if now == _GONE or (now == _QUEUED and asked_s >= began_s + QUEUED_S):
                return False
            took_s = time.monotonic() - asked_s  # of a slow board all of the time that the daemon needs to start
            ask_s = time.monotonic() + max(_ASK_S, _ASK_SHARE * took_s)
        time.sleep(max(0.01, min(0.1, (time.monotonic() - began_s) / 10)))
    return False


def _by_systemd(argv: Sequence[str], environment: dict[str, str], unit: str) -> bool:
    """As a transient unit, so that no login's end takes it along. False where there is no systemd, or it refuses.

    It is not waited for its start: a machine that still boots has other jobs before it.
    """
    if os.geteuid() != 0 or not os.path.isdir("/run/systemd/system"):
        return False
    command = ["systemd-run", "--collect", "--quiet", "--no-block", f"--unit={unit}", *_UNIT]
    command += [f"--setenv={key}={value}" for key, value in environment.items()]
    for heard in range(len(_WISHES), -1, -1):
        call = [*command, *_WISHES[:heard], *argv]
        try:
            done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_S)
        except (OSError, subprocess.SubprocessError):
            return False
        if done.returncode == 0:
            return True
    return False


def _state_of(unit: str) -> int:
    """Whether systemd has begun it, or will: one that could not be executed is gone."""
    said = _systemctl("show", "--property=ActiveState", "--property=Job", unit).split("\n")
    state = dict(line.partition("=")[::2] for line in said if "=" in line)
    if state.get("ActiveState") not in ("inactive", "failed"):
        return _BEGUN
    return _QUEUED if state.get("Job", "") not in ("", "0") else _GONE


def _systemctl(*words: str) -> str:
    """What systemctl prints; nothing where it fails, or is not there."""
    try:
        done = subprocess.run(["systemctl", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=START_S)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def init_may_execute(tree: Tree, path: str) -> bool:
    """Whether SELinux lets systemd execute ``path``; where it is not enforcing, always.

    What systemd itself executes is the interpreter: one in a home (user_home_t) is denied to it, whatever its mode.
    The probes are executed by the agent, whose domain then is unconfined_service_t.
    """
    if tree.read("/sys/fs/selinux/enforce") != "1":
        return True
    try:
        label = os.getxattr(os.path.realpath(tree.path(path)), "security.selinux")
    except OSError:
        return False
    kind = label.decode("ascii", "replace").rstrip("\0").split(":")[2:3]
    return bool(kind) and (kind[0] in _EXECUTABLE_TYPES or kind[0].endswith("_exec_t"))


def _by_double_fork(argv: Sequence[str], environment: dict[str, str], log: str) -> None:
    """Double fork and setsid: nobody's child, no terminal, none of our descriptors."""
    with contextlib.suppress(OSError):
        if os.path.getsize(log) > _MAX_LOG:
            os.unlink(log)
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, source in ((0, null), (1, out), (2, out)):
            os.dup2(source, fd)
        os.closerange(3, 256)
        os.chdir("/")
        os.umask(0o077)
        os.execve(argv[0], list(argv), environment)  # noqa: S606 (no shell is the point)
    finally:
        os._exit(70)
