# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from harness.config.targets import Target
from harness.errors import UserError
from harness.target.route import Hop, read_config, route, unfold


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def way(config: str = "", **target: object) -> list[Hop]:
    return route(Target(**{"name": "box", **target}), config)


def test_nothing_said_is_ssh_s_own_default(home: Path) -> None:
    (hop,) = way()
    assert (hop.host, hop.port, hop.user, hop.key_host) == ("box", 22, getpass.getuser(), "box")
    assert hop.identities == tuple(home / ".ssh" / name for name in ("id_ed25519", "id_ecdsa", "id_rsa"))
    assert hop.known_hosts[0] == home / ".ssh" / "known_hosts"
    assert Path("/etc/ssh/ssh_known_hosts") in hop.known_hosts
    assert (hop.identities_given, hop.identities_only, hop.proxy_command) == (False, False, None)


CONFIG = """
Host lab-*
  HostName %h.lab.example
  User lab
  IdentityFile ~/.ssh/lab
  IdentitiesOnly yes
  UserKnownHostsFile ~/a "~/b c"
  GlobalKnownHostsFile none
  ConnectTimeout 7
Host *
  User everybody
  Port 2022
"""


def test_the_configuration_is_honoured(home: Path) -> None:
    (hop,) = way(CONFIG, address="lab-7")
    assert (hop.host, hop.user, hop.port, hop.connect_timeout_s) == ("lab-7.lab.example", "lab", 2022, 7.0)
    assert (hop.identities, hop.identities_given, hop.identities_only) == ((home / ".ssh" / "lab",), True, True)
    assert hop.known_hosts == (home / "a", home / "b c")
    assert hop.label == "lab@lab-7.lab.example:2022"


def test_the_inventory_comes_first(home: Path) -> None:
    (hop,) = way(CONFIG, address="lab-7", port=22, user="me", identity=Path("~/key"))
    assert (hop.user, hop.port) == ("me", 22)
    assert hop.identities == (home / "key", home / ".ssh" / "lab")


def test_a_proxy_command_sees_the_real_port_and_user() -> None:
    (hop,) = way("ProxyCommand nc %h %p # %r\n", port=2222, user="me")
    assert hop.proxy_command == "nc box 2222 # me"
    assert way("ProxyCommand none\n")[0].proxy_command is None


def test_jumps_by_configuration_and_by_inventory() -> None:
    config = "Host box\n  ProxyJump first,second\nHost first\n  HostName 10.0.0.1\nHost second\n  Port 2200\n"
    assert [hop.host for hop in way(config)] == ["10.0.0.1", "second", "box"]
    assert [hop.port for hop in way(config)] == [22, 2200, 22]
    assert [hop.host for hop in way(config, proxy_jump="third")] == ["third", "box"]
    assert [hop.host for hop in way(config, proxy_jump="none")] == ["box"]
    (hop, last) = way(config, proxy_jump="me@[fe80::1]:99")
    assert (hop.user, hop.host, hop.port, last.host) == ("me", "fe80::1", 99, "box")


def test_a_jump_host_may_need_a_jump_host() -> None:
    config = "Host box\n  ProxyJump inner\nHost inner\n  ProxyJump outer\nHost outer\n  ProxyCommand relay %h\n"
    assert [hop.host for hop in way(config)] == ["outer", "inner", "box"]
    assert way(config)[0].proxy_command == "relay outer"


def test_a_jump_for_everybody_is_none_for_the_jump_host_itself() -> None:
    assert [hop.host for hop in way("Host *\n  ProxyJump bastion\n")] == ["bastion", "box"]


def test_a_circle_in_the_inventory_is_an_error() -> None:
    with pytest.raises(UserError, match="circle"):
        way(proxy_jump="box")


def test_host_key_alias() -> None:
    assert way("HostKeyAlias fleet\n")[0].key_host == "fleet"


def test_includes_unfold_and_the_block_goes_on(home: Path) -> None:
    ssh = home / ".ssh"
    (ssh / "config").write_text("Include parts/*\nHost box\n  Include user\n  Port 7\nHost *\n  Port 8\n")
    (ssh / "parts").mkdir()
    (ssh / "parts" / "a").write_text("Host a\n  HostName 10.0.0.1\n  Include deeper\n")
    (ssh / "user").write_text("User lab\nHost other\n  User nobody\n")
    (ssh / "deeper").write_text("User deep\n")
    config = read_config()
    assert [(hop.user, hop.port) for hop in way(config)] == [("lab", 7)]
    (hop,) = way(config, address="a")
    assert (hop.host, hop.user, hop.port) == ("10.0.0.1", "deep", 8)


def test_an_include_of_itself_ends(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Include config\n")
    with pytest.raises(UserError, match="more than 16 Includes"):
        read_config()


def test_a_missing_file_says_nothing(tmp_path: Path) -> None:
    assert list(unfold(tmp_path / "none")) == []


def test_a_broken_configuration_is_the_users_fault() -> None:
    with pytest.raises(UserError, match="cannot be applied"):
        way("Host\n")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, "/run/default"),
        ("SSH_AUTH_SOCK", "/run/default"),
        ("none", None),
        ("~/.agent/%r@%h:%p", "{home}/.agent/lab@box.lab:22"),
        ("%d/%n-%%", "{home}/box-%"),
        ("$OTHER", "/run/other"),
        ("${OTHER}", "/run/other"),
        ("$NOBODYS", None),
    ],
)
def test_the_agent_to_ask(said: str | None, found: str | None, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/default")
    monkeypatch.setenv("OTHER", "/run/other")
    config = "Host box\n  HostName %h.lab\n  User lab\n" + (f"  IdentityAgent {said}\n" if said else "")
    (hop,) = way(config)
    assert hop.agent == (None if found is None else Path(found.format(home=home)))


def test_no_agent_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert way()[0].agent is None
