# SPDX-License-Identifier: Apache-2.0
"""Who we are, and the way there: keys, agents, ~/.ssh/config, ProxyCommand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import Unreachable, UserError
from harness.target.keys import host_name
from harness.target.ssh import SshTransport
from harness.target.transport import AuthenticationFailed

from .conftest import Server
from .proxy import Proxy


def whoami(target: Target) -> str:
    transport = SshTransport.connect(target, Deadline.after(20))
    try:
        return transport.run(["id", "-un"], deadline=Deadline.after(20)).stdout.decode().strip()
    finally:
        transport.close()


@pytest.fixture
def locked_key(user_key: Path, tmp_path: Path) -> Path:
    """The key that servers let in, under a passphrase."""
    path = tmp_path / "locked"
    path.write_bytes(user_key.read_bytes())
    path.chmod(0o600)
    path.with_suffix(".pub").write_bytes(user_key.with_suffix(".pub").read_bytes())
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(path)], check=True, capture_output=True
    )
    return path


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A running ssh-agent; call it with a private key to load that."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    while not socket.exists():
        assert process.poll() is None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))

    def add(path: Path) -> None:
        subprocess.run(["ssh-add", "-q", str(path)], check=True, capture_output=True, stdin=subprocess.DEVNULL)

    yield add
    process.terminate()
    process.wait()


def test_a_stranger_is_refused_at_once(
    proxy: Proxy, sshd_target: Callable[..., Target], keygen: Callable[..., str], tmp_path: Path
) -> None:
    keygen(tmp_path / "stranger")
    with pytest.raises(AuthenticationFailed, match=r"login refused \(1 key offered\)") as caught:
        whoami(sshd_target(port=proxy.port, identity=tmp_path / "stranger"))
    assert proxy.connections == 1
    assert "never by password" in str(caught.value.advice)
    assert f"ssh-copy-id -p {proxy.port} " in str(caught.value.advice)


def test_no_key_at_all(sshd_target: Callable[..., Target]) -> None:
    with pytest.raises(AuthenticationFailed, match=r"login refused \(0 keys offered\)"):
        whoami(sshd_target(identity=None))


def test_a_missing_identity_is_named(sshd_target: Callable[..., Target], tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed, match=f"{tmp_path}/nowhere does not exist"):
        whoami(sshd_target(identity=tmp_path / "nowhere"))


def test_a_file_that_is_no_key_is_named(sshd_target: Callable[..., Target], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key\n")
    with pytest.raises(AuthenticationFailed, match=f"{tmp_path}/text is not a key"):
        whoami(sshd_target(identity=tmp_path / "text"))


def test_an_encrypted_key_without_an_agent_is_one_clear_line(
    sshd_target: Callable[..., Target], locked_key: Path
) -> None:
    with pytest.raises(
        AuthenticationFailed, match=f"is encrypted and no agent holds it: ssh-add {locked_key}"
    ) as caught:
        whoami(sshd_target(identity=locked_key))
    assert "\n" not in str(caught.value)


def test_an_encrypted_key_in_the_agent(
    sshd_target: Callable[..., Target],
    locked_key: Path,
    user_key: Path,
    agent: Callable[[Path], None],
    own_home: Path,
) -> None:
    agent(user_key)
    assert whoami(sshd_target(identity=locked_key)) == "root"
    (own_home / ".ssh" / "config").write_text("IdentitiesOnly yes\n")  # it is one of the identities
    assert whoami(sshd_target(identity=locked_key)) == "root"
    (own_home / ".ssh" / "config").unlink()
    assert whoami(sshd_target(identity=None)) == "root"


def test_identities_only_leaves_the_agent_alone(
    sshd_target: Callable[..., Target],
    user_key: Path,
    agent: Callable[[Path], None],
    own_home: Path,
    keygen: Callable[..., str],
    tmp_path: Path,
) -> None:
    agent(user_key)
    keygen(tmp_path / "stranger")
    assert whoami(sshd_target(identity=tmp_path / "stranger")) == "root"
    (own_home / ".ssh" / "config").write_text("IdentitiesOnly yes\n")
    with pytest.raises(AuthenticationFailed):
        whoami(sshd_target(identity=tmp_path / "stranger"))


def test_another_agent_than_the_environments(
    sshd_target: Callable[..., Target],
    user_key: Path,
    agent: Callable[[Path], None],
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent(user_key)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    config = own_home / ".ssh" / "config"
    config.write_text(f"IdentityAgent {tmp_path}/agent\n")
    assert whoami(sshd_target(identity=None)) == "root"
    config.write_text(f"IdentityAgent {tmp_path}/nobody\n")
    with pytest.raises(AuthenticationFailed, match=f"no SSH agent answers at {tmp_path}/nobody: No such file"):
        whoami(sshd_target(identity=None))
    monkeypatch.setenv("SSH_AUTH_SOCK", f"{tmp_path}/agent")
    config.write_text("IdentityAgent none\n")
    with pytest.raises(AuthenticationFailed, match=r"0 keys offered\)$"):
        whoami(sshd_target(identity=None))


def test_too_many_keys(
    start_sshd: Callable[..., Server],
    sshd_target: Callable[..., Target],
    agent: Callable[[Path], None],
    keygen: Callable[..., str],
    tmp_path: Path,
) -> None:
    for number in range(3):
        keygen(tmp_path / f"stranger{number}")
        agent(tmp_path / f"stranger{number}")
    with pytest.raises(AuthenticationFailed, match="having seen too many keys"):
        whoami(sshd_target(start_sshd("MaxAuthTries 2"), identity=None))


def test_default_identities(sshd_target: Callable[..., Target], own_home: Path, user_key: Path) -> None:
    (own_home / ".ssh" / "id_ed25519").write_bytes(user_key.read_bytes())
    assert whoami(sshd_target(identity=None)) == "root"


def test_a_certificate_beside_the_key_is_shown(
    start_sshd: Callable[..., Server],
    sshd_target: Callable[..., Target],
    keygen: Callable[..., str],
    open_folder: Path,
    tmp_path: Path,
) -> None:
    keygen(open_folder / "authority")
    keygen(tmp_path / "newcomer")
    server = start_sshd(f"TrustedUserCAKeys {open_folder}/authority.pub")
    target = sshd_target(server, identity=tmp_path / "newcomer")
    with pytest.raises(AuthenticationFailed):
        whoami(target)
    sign = [
        "ssh-keygen",
        "-q",
        "-s",
        f"{open_folder}/authority",
        "-I",
        "test",
        "-n",
        "root",
        f"{tmp_path}/newcomer.pub",
    ]
    subprocess.run(sign, check=True, capture_output=True)
    assert whoami(target) == "root"


def test_a_second_factor_is_said(start_sshd: Callable[..., Server], sshd_target: Callable[..., Target]) -> None:
    server = start_sshd("AuthenticationMethods publickey,password", "PasswordAuthentication yes")
    with pytest.raises(AuthenticationFailed, match="after the key it also wants: password"):
        whoami(sshd_target(server))


def test_the_users_configuration_leads_there(sshd: Server, own_home: Path, user_key: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(f"the-lab-box {sshd.host_key}\n")
    (own_home / ".ssh" / "config").write_text("Include conf.d/*\nHost *\n  User nobody\n")
    (own_home / ".ssh" / "conf.d").mkdir()
    (own_home / ".ssh" / "conf.d" / "lab").write_text(
        f"Host box*\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n  IdentityFile {user_key}\n"
        f"  UserKnownHostsFile {tmp_path}/elsewhere\n  HostKeyAlias the-lab-box\n"
    )
    # an alias with a port of its own is filed under [alias]:port, or under the alias alone
    assert whoami(Target(name="box1")) == "root"
    (tmp_path / "elsewhere").write_text(f"{host_name('the-lab-box', sshd.port)} {sshd.host_key}\n")
    assert whoami(Target(name="box1")) == "root"


def test_the_inventory_outranks_the_configuration(sshd_target: Callable[..., Target], own_home: Path) -> None:
    (own_home / ".ssh" / "config").write_text("Host *\n  User nobody\n  Port 1\n")
    assert whoami(sshd_target()) == "root"


def test_a_configuration_that_cannot_be_read_is_the_users_fault(
    sshd_target: Callable[..., Target], own_home: Path
) -> None:
    (own_home / ".ssh" / "config").write_text("Match nonsense\n")
    with pytest.raises(UserError, match="the ssh configuration cannot be applied"):
        whoami(sshd_target())


RELAY = """
import os, socket, sys, threading
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    while data := os.read(0, 65536):
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=up, daemon=True).start()
while data := peer.recv(65536):
    os.write(1, data)
"""


def test_a_proxy_command(sshd: Server, sshd_target: Callable[..., Target], own_home: Path, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    pids = tmp_path / "pids"
    command = f"sh -c 'echo $$ >>{pids}; exec {sys.executable} {tmp_path}/relay.py %h %p'"
    (own_home / ".ssh" / "config").write_text(f"Host 127.*\n  ProxyCommand {command}\n")
    assert whoami(sshd_target()) == "root"
    for pid in pids.read_text().split():
        assert not os.path.exists(f"/proc/{pid}")


def test_a_proxy_command_that_fails(sshd_target: Callable[..., Target], own_home: Path) -> None:
    (own_home / ".ssh" / "config").write_text("Host *\n  ProxyCommand false\n")
    with pytest.raises(Unreachable, match="hung up before the login"):
        SshTransport.connect(sshd_target(), Deadline.after(1))
