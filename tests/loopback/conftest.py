# SPDX-License-Identifier: Apache-2.0
"""A real sshd for each test that wants one, real users, and a proxy that breaks. Nothing here is a mock.

Nobody's own files are touched: HOME is a fresh folder on both sides, keys are thrown away, and every server is ended
by its process id.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.config.targets import Target

from .agent_kit import agent, gap
from .campaign_kit import alone, lab, no_waiting, own_machine, probe_cache
from .proxy import Proxy

__all__ = ["agent", "alone", "gap", "lab", "no_waiting", "own_machine", "probe_cache"]  # fixtures

ROOT = os.getuid() == 0


#: For a server's mount namespace: what logs in there is on another machine, as far as anybody can tell.
OTHER_MACHINE = (
    "cat /proc/sys/kernel/random/uuid >$home/boot_id; mount --bind $home/boot_id /proc/sys/kernel/random/boot_id"
)


#: For a server's mount namespace: firmware that says nothing; then a serial number by the board's own /proc/cpuinfo.
NO_DMI = "[ ! -e /sys/class/dmi ] || mount -t tmpfs none /sys/class/dmi"


def serial_number(serial: str) -> list[str]:
    say = f"(cat /proc/cpuinfo; echo 'Serial : {serial}') >$home/cpuinfo"
    return [NO_DMI, f"{say}; mount --bind $home/cpuinfo /proc/cpuinfo"]


@dataclass(frozen=True)
class User:
    """A real account. ``home`` belongs to it, with the test's public key in .ssh/authorized_keys."""

    name: str
    uid: int
    home: Path


@dataclass
class Server:
    """An SSH server of our own on 127.0.0.1. ``home`` is where whoever logs in finds HOME (None: the account's own)."""

    port: int
    host_key: str  # "ssh-ed25519 AAAA…"
    user_key: Path  # the private key that it lets in
    log: Path
    process: subprocess.Popen[bytes]
    home: Path | None

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """A new key pair at ``path``; the public key's first two words."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture
def keygen() -> Callable[..., str]:
    return _keygen


@pytest.fixture(scope="session")
def user_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key that every server of a test lets in."""
    path = tmp_path_factory.mktemp("keys") / "user"
    _keygen(path)
    return path


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The controller's HOME, empty: no ssh configuration, no known hosts, no agent."""
    home = tmp_path / "controller"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    # Zig compiles its C library once for each cache, for half a minute: that one thing is kept.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(cache / "zig"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach too, unlike tmp_path."""
    # not below /tmp, which some tests mount over
    path = Path(tempfile.mkdtemp(prefix="isolbench-test-", dir="/srv" if ROOT and os.path.isdir("/srv") else None))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether the process ended, or does so soon. A zombie ended: who reaps orphans here is not our concern."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def _wait_listening(server: Server) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1.0):
            return
        if server.process.poll() is not None:
            break
        time.sleep(0.01)
    raise AssertionError(f"the server did not start:\n{server.log.read_text()}")


@pytest.fixture
def start_sshd(open_folder: Path, user_key: Path) -> Iterator[Callable[..., Server]]:
    """``start_sshd("MaxStartups 1", mounts=["mount -t tmpfs none /x"])`` → :class:`Server`.

    Lines of sshd_config come first, and so win. ``mounts`` are shell commands run as root in the server's own mount
    namespace, for machines that lack something; they find the login's home as ``$home``. ``home=False`` leaves HOME
    to the account; ``bashrc`` is written there otherwise. ``path`` is the login's PATH. ``host_key`` is a kind for
    ssh-keygen.
    """
    servers: list[Server] = []

    def start(
        *lines: str,
        mounts: list[str] | None = None,
        home: bool = True,
        bashrc: str = "",
        path: str | None = None,
        host_key: str = "ed25519",
    ) -> Server:
        if ROOT:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        folder = open_folder / f"sshd{len(servers)}"
        login_home = folder / "home"
        login_home.mkdir(parents=True)
        (login_home / ".bashrc").write_text(bashrc)
        public = _keygen(folder / "host", host_key)
        (folder / "authorized_keys").write_text(user_key.with_suffix(".pub").read_text())
        port = free_port()
        environment = [f"HOME={login_home}"] if home else []
        environment += [f"PATH={path}"] if path else []
        config = [
            *lines,
            f"ListenAddress 127.0.0.1:{port}",
            f"HostKey {folder}/host",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PidFile none",
            "PermitRootLogin yes",
            "PrintMotd no",
            *([f"SetEnv {' '.join(environment)}"] if environment else []),  # of several SetEnv only the first counts
        ]
        (folder / "config").write_text("\n".join(config) + "\n")
        command = [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", f"{folder}/config"]
        if mounts:
            if not ROOT:
                pytest.skip("a mount namespace for the server needs root")
            script = "; ".join(["set -e", *mounts, 'exec "$@"'])
            command = ["unshare", "-m", "env", f"home={login_home}", "/bin/sh", "-c", script, "sh", *command]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        server = Server(port, public, user_key, folder / "log", process, login_home if home else None)
        servers.append(server)
        _wait_listening(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sshd(start_sshd: Callable[..., Server]) -> Server:
    """An ordinary OpenSSH server."""
    return start_sshd()


@pytest.fixture
def start_dropbear(open_folder: Path, user_key: Path) -> Iterator[Callable[[], Server]]:
    """Dropbear, which has no SFTP server. It reads the account's own authorized_keys: log in as a ``make_user``."""
    servers: list[Server] = []

    def start() -> Server:
        for tool in ("dropbear", "dropbearkey"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        folder = open_folder / f"dropbear{len(servers)}"
        folder.mkdir()
        made = subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", f"{folder}/host"], check=True, capture_output=True, text=True
        )
        public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519"))
        port = free_port()
        command = [
            "dropbear",
            "-F",
            "-E",
            "-m",
            "-p",
            f"127.0.0.1:{port}",
            "-r",
            f"{folder}/host",
            "-P",
            f"{folder}/pid",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        key = " ".join(public.split()[:2])
        server = Server(port, key, user_key, folder / "log", process, None)
        servers.append(server)
        _wait_listening(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def sshd_target(sshd: Server) -> Callable[..., Target]:
    """``sshd_target(server=None, **changes)`` → a target that this server lets in, its host key pinned.

    Without ``server`` it is the test's own ``sshd``. A :class:`Proxy` may stand in front: ``port=proxy.port``.
    """

    def make(server: Server | None = None, **changes: Any) -> Target:
        server = server or sshd
        usual = {
            "name": "box",
            "address": "127.0.0.1",
            "port": server.port,
            "user": pwd.getpwuid(os.getuid()).pw_name,
            "identity": server.user_key,
            "host_key": server.host_key,
        }
        return Target(**(usual | changes))

    return make


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., Proxy]]:
    """``start_proxy(port)`` → a :class:`Proxy` in front of that port; more arguments are the proxy's own."""
    proxies: list[Proxy] = []

    def start(port: int, *own: Any) -> Proxy:
        proxies.append(Proxy(port, *own))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def proxy(sshd: Server, start_proxy: Callable[[int], Proxy]) -> Proxy:
    """In front of the test's own ``sshd``."""
    return start_proxy(sshd.port)


_numbers = itertools.count(1)


@pytest.fixture
def make_user(user_key: Path) -> Iterator[Callable[..., User]]:
    """``make_user(shell="/bin/bash", bashrc="")`` → an unprivileged :class:`User`, removed with its home at the end."""
    users: list[User] = []

    def make(shell: str = "/bin/bash", bashrc: str = "") -> User:
        if not ROOT:
            pytest.skip("making a user needs root")
        if not Path(shell).exists():
            pytest.skip(f"{shell} is not installed")
        name = f"isolb{os.getpid()}x{next(_numbers)}"
        home = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/var/tmp"))
        subprocess.run(
            ["useradd", "-M", "-d", str(home), "-s", shell, "-p", "*", name], check=True, capture_output=True
        )
        entry = pwd.getpwnam(name)
        user = User(name, entry.pw_uid, home)
        users.append(user)
        (home / ".ssh").mkdir(mode=0o700)
        (home / ".ssh" / "authorized_keys").write_text(user_key.with_suffix(".pub").read_text())
        (home / ".bashrc").write_text(bashrc)
        for path in (home, *home.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        return user

    yield make
    for user in users:
        _end_processes(user.uid)
        subprocess.run(["userdel", "-f", user.name], check=False, capture_output=True)
        shutil.rmtree(user.home, ignore_errors=True)
        for place in ("/var/tmp", "/tmp", "/dev/shm"):
            shutil.rmtree(f"{place}/isolbench-{user.uid}", ignore_errors=True)


def _end_processes(uid: int) -> None:
    """Everything that a throwaway user left running."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                os.kill(int(entry.name), signal.SIGKILL)
