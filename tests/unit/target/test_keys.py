# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HostKeyError
from harness.target.keys import HostKey, KnownHosts, host_name, parse_known_hosts


def key(seed: int, kind: str = "ssh-ed25519") -> HostKey:
    name = kind.encode()
    return HostKey(kind, len(name).to_bytes(4, "big") + name + hashlib.sha256(bytes([seed])).digest())


def hashed(name: str, salt: bytes = b"s" * 20) -> str:
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def known(*texts: str) -> KnownHosts:
    return KnownHosts(tuple(tuple(parse_known_hosts(text, f"layer{n}")) for n, text in enumerate(texts)))


def verdict(hosts: KnownHosts, host: str, shown: HostKey, port: int = 22) -> str:
    try:
        hosts.verify(host, port, shown, pin_command="PIN")
    except HostKeyError as error:
        return str(error)
    return "good"


# the key of github.com as published, with its published fingerprint
GITHUB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def test_fingerprint() -> None:
    assert HostKey.parse(GITHUB).fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
    assert str(HostKey.parse(GITHUB + " a comment")) == GITHUB


@given(st.binary(min_size=1, max_size=100), st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"]))
def test_keys_round_trip(rest: bytes, kind: str) -> None:
    made = HostKey(kind, len(kind).to_bytes(4, "big") + kind.encode() + rest)
    assert HostKey.parse(str(made)) == made


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ssh-ed25519", "two words"),
        ("ssh-ed25519 !!!", "base64"),
        ("ssh-ed25519 AAAA", "not of the type"),
        (GITHUB.replace("ssh-ed25519", "ssh-rsa"), "not of the type"),
    ],
)
def test_broken_keys(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HostKey.parse(text)


@given(st.text())
def test_any_file_can_be_read(text: str) -> None:
    for entry in parse_known_hosts(text, "file"):
        entry.matches("box")


@pytest.mark.parametrize(
    "pattern",
    ["box", "BOX", "other,box", "b?x", "*", "*x", "!other,b*", hashed("box")],
)
def test_names_that_match(pattern: str) -> None:
    assert verdict(known(f"{pattern} {key(1)}"), "Box", key(1)) == "good"


@pytest.mark.parametrize("pattern", ["bo", "box2", "[box]:22", "!box,*", "*,!b*", hashed("bax"), "|1|garbage|x", "|1|"])
def test_names_that_do_not(pattern: str) -> None:
    assert verdict(known(f"{pattern} {key(1)}"), "box", key(1)).startswith("box: unknown host key")


def test_other_ports_have_names_of_their_own() -> None:
    assert host_name("Box", 22) == "box"
    assert host_name("Box", 2222) == "[box]:2222"
    for pattern in ("[box]:2222", "[box]:*", "[b?x]:2222", hashed("[box]:2222")):
        assert verdict(known(f"{pattern} {key(1)}"), "box", key(1), 2222) == "good"
    assert verdict(known(f"[box]:2222 {key(1)}"), "box", key(1), 2223).startswith("[box]:2223: unknown")


def test_an_entry_without_port_vouches_but_never_contradicts() -> None:
    assert verdict(known(f"box {key(1)}"), "box", key(1), 2222) == "good"
    assert verdict(known(f"box {key(1)}"), "box", key(2), 2222).startswith("[box]:2222: unknown")
    both = known(f"box {key(1)}\n[box]:2222 {key(2)}")
    assert verdict(both, "box", key(1), 2222).startswith("[box]:2222: wrong")


def test_several_keys_of_one_type_are_all_good() -> None:
    two = known(f"box {key(1)}\nbox {key(2)}")
    assert [verdict(two, "box", key(seed)) for seed in (1, 2)] == ["good", "good"]
    assert "(layer0:1)" in verdict(two, "box", key(3))


def test_another_type_of_key_is_wrong_not_unknown() -> None:
    assert "wrong host key" in verdict(known(f"box {key(1)}"), "box", key(1, "ssh-rsa"))


def test_the_first_layer_that_knows_the_name_decides() -> None:
    layers = known(f"elsewhere {key(9)}", f"# comment\nbox {key(1)}", f"box {key(2)}")
    assert verdict(layers, "box", key(1)) == "good"
    assert f"known is ssh-ed25519 {key(1).fingerprint} (layer1:2)" in verdict(layers, "box", key(2))


def test_revoked_anywhere_is_revoked() -> None:
    layers = known(f"box {key(1)}", f"@revoked * {key(1)}\nbox {key(2)}")
    assert "is revoked (layer1:1)" in verdict(layers, "box", key(1))
    assert "is revoked (layer1:1)" in verdict(layers, "box", key(1), 2222)
    assert verdict(known(f"@revoked other {key(1)}\nbox {key(1)}"), "box", key(1)) == "good"


def test_certificate_authorities_are_not_taken_for_keys() -> None:
    assert "unknown" in verdict(known(f"@cert-authority * {key(1)}"), "box", key(1))
    assert "(layer0:1 trusts its certificate, which isolbench cannot check)" in verdict(
        known(f"@cert-authority *.lab {key(1)}"), "box.lab", key(2)
    )
    assert "certificate" not in verdict(known(f"@cert-authority *.lab {key(1)}"), "box.elsewhere", key(2))
    assert verdict(known(f"@cert-authority *.lab {key(1)}\nbox.lab {key(2)}"), "box.lab", key(2)) == "good"


def test_known_types_are_asked_for_first() -> None:
    offered = ["ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256"]
    rsa = known(f"box {key(1, 'ssh-rsa')}")
    assert rsa.algorithms("box", 22, offered) == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp256"]
    assert rsa.algorithms("other", 22, offered) == offered
    assert rsa.algorithms("box", 2222, offered)[0] == "rsa-sha2-512"


def test_files_that_are_not_there_know_nothing(tmp_path: Path) -> None:
    hosts = KnownHosts.load(None, "", [[tmp_path / "none"], [tmp_path / "file" / "below"]])
    assert "unknown" in verdict(hosts, "box", key(1))
    with pytest.raises(HostKeyError, match="cannot be read: Is a directory"):
        KnownHosts.load(None, "", [[tmp_path]])
