# SPDX-License-Identifier: Apache-2.0
"""Whom we talk to: host keys pinned, known, unknown, wrong, revoked, of a jump host, and how one comes to be known."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.deadline import Deadline
from harness.errors import ConfigError, HostKeyError, Unreachable
from harness.target.connect import scan_host_key
from harness.target.keys import HostKey, host_name, pin
from harness.target.ssh import SshTransport

from .conftest import Server, free_port
from .proxy import Proxy


def reaches(target: Target) -> bool:
    transport = SshTransport.connect(target, Deadline.after(20))
    try:
        return transport.run(["/bin/true"], deadline=Deadline.after(20)).ok
    finally:
        transport.close()


def name(server: Server) -> str:
    return host_name("127.0.0.1", server.port)


def fingerprint_by_ssh_keygen(public: str, folder: Path) -> str:
    (folder / "key.pub").write_text(public + "\n")
    listed = subprocess.run(["ssh-keygen", "-lf", str(folder / "key.pub")], check=True, capture_output=True, text=True)
    return listed.stdout.split()[1]


def test_an_unknown_key_is_refused_and_the_remedy_named(
    sshd: Server, sshd_target: Callable[..., Target], tmp_path: Path
) -> None:
    target = sshd_target(host_key=None)
    with pytest.raises(HostKeyError) as caught:
        reaches(target)
    message = str(caught.value)
    assert f"unknown host key ssh-ed25519 {fingerprint_by_ssh_keygen(sshd.host_key, tmp_path)}" in message
    assert f"isolbench init --repin {target.name}" in message


def test_a_wrong_key_names_both_and_where_the_known_one_stands(
    sshd: Server, sshd_target: Callable[..., Target], keygen: Callable[..., str], tmp_path: Path
) -> None:
    other = keygen(tmp_path / "other")
    shown, known = (fingerprint_by_ssh_keygen(key, tmp_path) for key in (sshd.host_key, other))
    with pytest.raises(HostKeyError) as caught:
        reaches(sshd_target(host_key=other))
    assert f"it shows ssh-ed25519 {shown}, known is ssh-ed25519 {known} (host_key of box in the" in str(caught.value)
    assert "pin the new one: isolbench init --repin box" in str(caught.value.advice)
    assert "remove" not in str(caught.value.advice)
    file = tmp_path / "lab.known_hosts"
    file.write_text(f"# the lab\n{name(sshd)} {other}\n")
    with pytest.raises(HostKeyError, match=f"known is ssh-ed25519 {known.replace('+', '.')} .{file}:2."):
        reaches(sshd_target(host_key=None, known_hosts=file))


def test_a_wrong_key_is_not_tried_again(
    proxy: Proxy, sshd_target: Callable[..., Target], keygen: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(HostKeyError):
        reaches(sshd_target(port=proxy.port, host_key=keygen(tmp_path / "other")))
    assert proxy.connections == 1


def test_nothing_of_ours_is_offered_to_a_wrong_key(
    sshd: Server, sshd_target: Callable[..., Target], keygen: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(HostKeyError):
        reaches(sshd_target(host_key=keygen(tmp_path / "other")))
    assert "root" not in sshd.log.read_text()  # it never learned who we are


@pytest.mark.parametrize("where", ["inventory", "user", "hashed"])
def test_known_hosts_files_are_honoured(
    where: str, sshd: Server, sshd_target: Callable[..., Target], own_home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "lab" if where == "inventory" else own_home / ".ssh" / "known_hosts"
    file.write_text(f"other.example,{name(sshd)} {sshd.host_key}\n")
    if where == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
        assert "127.0.0.1" not in file.read_text()
    assert reaches(sshd_target(host_key=None, known_hosts=file if where == "inventory" else None))


def test_the_inventory_outranks_the_users_file(
    sshd: Server, sshd_target: Callable[..., Target], own_home: Path, keygen: Callable[..., str], tmp_path: Path
) -> None:
    users = own_home / ".ssh" / "known_hosts"
    users.write_text(f"{name(sshd)} {keygen(tmp_path / 'other')}\n")
    assert reaches(sshd_target())
    users.write_text(f"{name(sshd)} {sshd.host_key}\n")
    with pytest.raises(HostKeyError, match="wrong host key"):
        reaches(sshd_target(host_key=keygen(tmp_path / "third")))


def test_an_entry_without_port_vouches_for_any_port(
    sshd: Server, sshd_target: Callable[..., Target], own_home: Path, keygen: Callable[..., str], tmp_path: Path
) -> None:
    users = own_home / ".ssh" / "known_hosts"
    users.write_text(f"127.0.0.1 {sshd.host_key}\n")
    assert reaches(sshd_target(host_key=None))
    users.write_text(f"127.0.0.1 {keygen(tmp_path / 'other')}\n")
    with pytest.raises(HostKeyError, match="unknown host key"):
        reaches(sshd_target(host_key=None))


def test_a_revoked_key_is_refused_even_if_pinned(
    sshd: Server, sshd_target: Callable[..., Target], own_home: Path
) -> None:
    (own_home / ".ssh" / "known_hosts").write_text(f"@revoked * {sshd.host_key}\n")
    with pytest.raises(HostKeyError, match=r"is revoked .*known_hosts:1"):
        reaches(sshd_target())


def test_a_host_with_a_certificate_is_refused_and_the_reason_named(
    start_sshd: Callable[..., Server],
    sshd_target: Callable[..., Target],
    keygen: Callable[..., str],
    own_home: Path,
    open_folder: Path,
) -> None:
    authority = keygen(open_folder / "authority")
    keygen(open_folder / "host")
    sign = ["ssh-keygen", "-q", "-s", f"{open_folder}/authority", "-I", "box", "-h", "-n", "127.0.0.1"]
    subprocess.run([*sign, f"{open_folder}/host.pub"], check=True, capture_output=True)
    server = start_sshd(f"HostKey {open_folder}/host", f"HostCertificate {open_folder}/host-cert.pub")
    known = own_home / ".ssh" / "known_hosts"
    known.write_text(f"@cert-authority 127.0.0.1,[127.0.0.1]:* {authority}\n")
    by_ssh = ["ssh", "-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-p"]
    by_ssh += [str(server.port), "-i", str(server.user_key), "root@127.0.0.1", "true"]
    assert subprocess.run(by_ssh, capture_output=True).returncode == 0  # ssh itself takes it
    target = sshd_target(server, host_key=None)
    with pytest.raises(
        HostKeyError, match=r"known_hosts:1 trusts its certificate, which isolbench cannot check\); to pin"
    ):
        reaches(target)
    assert reaches(sshd_target(server, host_key=str(scan_host_key(target, Deadline.after(20)))))


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_server_of_several_keys_shows_the_one_we_know(
    kind: str,
    start_sshd: Callable[..., Server],
    sshd_target: Callable[..., Target],
    keygen: Callable[..., str],
    open_folder: Path,
) -> None:
    second = keygen(open_folder / "second", kind)
    server = start_sshd(f"HostKey {open_folder}/second")
    assert server.host_key.startswith("ssh-ed25519")
    assert reaches(sshd_target(server, host_key=second))
    assert reaches(sshd_target(server))


def test_a_broken_pin_is_a_configuration_error(sshd_target: Callable[..., Target]) -> None:
    target = sshd_target().model_copy(update={"host_key": "ssh-ed25519 nonsense!"})
    with pytest.raises(ConfigError, match="host_key of box in the inventory: the key's base64 is broken"):
        reaches(target)


def test_scan_then_pin_then_connect(sshd: Server, sshd_target: Callable[..., Target], own_home: Path) -> None:
    target = sshd_target(host_key=None, identity=None)
    key = scan_host_key(target, Deadline.after(20))
    assert str(key) == sshd.host_key
    file = own_home / "lab" / "known_hosts"
    assert pin(file, name(sshd), key) is True
    before = file.read_bytes()
    assert pin(file, name(sshd), key) is False
    assert file.read_bytes() == before
    assert reaches(sshd_target(host_key=None, known_hosts=file))


def test_scanning_nobody() -> None:
    target = Target(name="box", address="127.0.0.1", port=free_port())
    with pytest.raises(Unreachable, match="Connection refused"):
        scan_host_key(target, Deadline.after(5))


def test_pinning_never_replaces_a_key(keygen: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_bytes(b"# ours \xff\nbox " + keygen(tmp_path / "a").encode())  # no line end, and not UTF-8
    file.chmod(0o640)
    with pytest.raises(HostKeyError, match=r"known_hosts:2 has another key"):
        pin(file, "box", HostKey.parse(keygen(tmp_path / "b")))
    kept = file.read_bytes()
    assert pin(file, "other", HostKey.parse(keygen(tmp_path / "c"))) is True
    assert file.read_bytes().startswith(kept + b"\nother ssh-ed25519 ")
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.glob(".known_hosts*")) == []


class TestJumpHosts:
    """Through a second sshd, whose key counts as much as the target's."""

    @pytest.fixture
    def jump(self, start_sshd: Callable[..., Server], own_home: Path, user_key: Path) -> Server:
        server = start_sshd()
        (own_home / ".ssh" / "config").write_text(
            f"Host bastion\n  HostName 127.0.0.1\n  Port {server.port}\n  User root\n  IdentityFile {user_key}\n"
        )
        return server

    def test_through(self, jump: Server, sshd: Server, sshd_target: Callable[..., Target], own_home: Path) -> None:
        (own_home / ".ssh" / "known_hosts").write_text(f"{name(jump)} {jump.host_key}\n")
        assert reaches(sshd_target(proxy_jump="bastion"))
        assert "Accepted publickey" in jump.log.read_text()

    def test_by_the_users_configuration(
        self, jump: Server, sshd: Server, sshd_target: Callable[..., Target], own_home: Path
    ) -> None:
        with (own_home / ".ssh" / "config").open("a") as config:
            config.write(f"Host deep\n  HostName 127.0.0.1\n  Port {sshd.port}\nHost *\n  ProxyJump bastion\n")
        (own_home / ".ssh" / "known_hosts").write_text(f"{name(jump)} {jump.host_key}\n")
        assert reaches(sshd_target(address="deep", port=None))
        assert "Accepted publickey" in jump.log.read_text()

    def test_an_unknown_jump_host_is_refused(self, jump: Server, sshd_target: Callable[..., Target]) -> None:
        with pytest.raises(HostKeyError, match=f"unknown host key .* ssh -p {jump.port} root@127.0.0.1 true"):
            reaches(sshd_target(proxy_jump="bastion"))

    def test_the_target_behind_is_verified_too(
        self,
        jump: Server,
        sshd_target: Callable[..., Target],
        own_home: Path,
        keygen: Callable[..., str],
        tmp_path: Path,
    ) -> None:
        (own_home / ".ssh" / "known_hosts").write_text(f"{name(jump)} {jump.host_key}\n")
        with pytest.raises(HostKeyError, match="wrong host key"):
            reaches(sshd_target(proxy_jump="bastion", host_key=keygen(tmp_path / "other")))
        key = scan_host_key(sshd_target(proxy_jump="bastion", host_key=None), Deadline.after(20))
        assert str(key) == sshd_target().host_key

    def test_nobody_behind_it(self, jump: Server, sshd_target: Callable[..., Target], own_home: Path) -> None:
        (own_home / ".ssh" / "known_hosts").write_text(f"{name(jump)} {jump.host_key}\n")
        with pytest.raises(Unreachable, match=r"cannot reach it: Connect failed"):
            scan_host_key(sshd_target(proxy_jump="bastion", port=free_port()), Deadline.after(20))
