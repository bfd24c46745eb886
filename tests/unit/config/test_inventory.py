# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.inventory import Inventory, load_inventory, read_inventory
from harness.config.names import expand, substitute
from harness.config.yaml import parse
from harness.errors import ConfigError

HOST_KEY = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()


def read(text: str) -> Inventory:
    return read_inventory(parse(text, "f"), Path("/lab/inv.yaml"))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.problems


def test_without_a_file_there_is_this_machine() -> None:
    inventory = load_inventory(None)
    assert list(inventory.targets) == ["local"]
    assert inventory.targets["local"].local


def test_every_key_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    target = read(
        f"""
known_hosts: keys/known
targets:
  nuc:
    address: nuc.lan
    port: 2222
    user: lab
    identity: ~/.ssh/lab
    host_key: "{HOST_KEY} root@nuc"
    serial: 0012-A
    proxy_jump: a@b:22,[fe80::1]
    connect_timeout: 1.5s
    become: sudo
    arch: x86_64
    tags: [x86, 6.10]
    isolated: 2-3,6
    smt: shared
    boot: kexec
    boot_timeout: 90s
    power: {{cycle: [pdu, "{{name}}"]}}
    disabled: "PSU dead"
"""
    ).targets["nuc"]
    assert target.model_dump() == {
        "name": "nuc",
        "local": False,
        "address": "nuc.lan",
        "port": 2222,
        "user": "lab",
        "identity": Path("/home/me/.ssh/lab"),
        "host_key": HOST_KEY,
        "serial": "0012-A",
        "known_hosts": Path("/lab/keys/known"),
        "proxy_jump": "a@b:22,[fe80::1]",
        "connect_timeout_ns": 1_500_000_000,
        "boot_timeout_ns": 90_000_000_000,
        "become": "sudo",
        "arch": "x86_64",
        "class_name": None,
        "tags": ("x86", "6.10"),
        "isolated": (2, 3, 6),
        "smt": "shared",
        "boot": {"method": "kexec", "argv": (), "folder": None},
        "power": {"cycle": ("pdu", "{name}"), "off": None, "on": None},
        "disabled": "PSU dead",
        "virtual": None,
    }
    assert target.connect_timeout == 1.5
    assert read("targets: {a: {address: a}}").targets["a"].connect_timeout is None  # ~/.ssh/config may know one


def test_merge_defaults_then_class_then_range_then_name() -> None:
    found = read(
        """
defaults: {user: d, port: 1, become: sudo, isolated: 1, tags: [t, d]}
classes: {k: {user: c, port: 2, become: sudo, isolated: "2", tags: [c]}}
targets:
  n2: {user: e, tags: [e, c]}
  "n[1-3]": {class: k, address: "{name}.lan", user: r, port: 3, become: none}
  m: {address: m}
"""
    ).targets
    assert list(found) == ["local", "n1", "n2", "n3", "m"]
    picked = {name: (t.user, t.port, t.become, t.isolated, t.tags, t.class_name) for name, t in found.items()}
    assert picked == {
        "local": (None, None, None, "auto", (), None),
        "n1": ("r", 3, "none", (2,), ("t", "d", "c"), "k"),
        "n2": ("e", 3, "none", (2,), ("t", "d", "c", "e"), "k"),
        "n3": ("r", 3, "none", (2,), ("t", "d", "c"), "k"),
        "m": ("d", 1, "sudo", (1,), ("t", "d"), None),
    }
    assert found["n2"].address == "n2.lan"


def test_an_exact_name_may_change_the_class() -> None:
    found = read("classes: {a: {port: 1}, b: {port: 2}}\ntargets: {'n[1-2]': {class: a, address: x}, n2: {class: b}}\n")
    assert [found.targets[name].port for name in ("n1", "n2")] == [1, 2]


def test_the_name_is_filled_in() -> None:
    text = "{address: '{name}.lan', user: 'u{name}', identity: 'k/{name}', proxy_jump: 'g-{name}'}"
    found = read(f"targets: {{'n[1-1]': {text}}}").targets["n1"]
    assert (found.address, found.user, str(found.identity), found.proxy_jump) == ("n1.lan", "un1", "/lab/k/n1", "g-n1")


def test_local_may_be_refined_and_takes_nothing_from_the_defaults() -> None:
    local = read("defaults: {become: sudo, isolated: 1}\ntargets: {a: {address: a}, local: {tags: [me]}}\n").targets
    assert list(local) == ["local", "a"]
    assert (local["local"].become, local["local"].isolated, local["local"].tags) == (None, "auto", ("me",))
    assert local["local"].smt == "idle"


def test_results_carry_no_keys_and_no_paths() -> None:
    public = (
        read(f"known_hosts: k\ntargets: {{a: {{address: a, identity: i, host_key: '{HOST_KEY}'}}}}")
        .targets["a"]
        .public()
    )
    assert set(public) == {
        "name", "local", "address", "port", "user", "become", "arch", "class_name", "tags", "isolated", "smt",
        "disabled", "virtual"
    }  # fmt: skip


RULE = "letters, digits and . _ + - only, a letter or digit first, 120 at most"
PUB = "/etc/ssh/ssh_host_ed25519_key.pub"
OCTAL = "(an octal number to some: write it without the leading 0)"
BAD: list[tuple[str, list[str]]] = [
    ("target: {}", ["f:1:1: target: unknown key; did you mean 'targets'?"]),
    ("x: {}", ["f:1:1: x: unknown key (known: boots, classes, defaults, kernels, known_hosts, targets)"]),
    ("targets: [a]", ["f:1:10: targets: expected 'name: {…}' lines, found a list"]),
    ("targets: {a: b}", ["f:1:14: targets.a: expected 'key: value' lines, found 'b'"]),
    ("targets: {a: {}}", ["f:1:11: targets.a: no address"]),
    ("targets: {a: }", ["f:1:11: targets.a: no address"]),
    (
        "targets: {'n[01-09]': {address: x}, n-7: {disabled: why}}",
        ["f:1:37: targets.n-7: no address"],
    ),
    ("targets: {nuc: {address: x}, nux: {port: 1}}", ["f:1:30: targets.nux: no address; did you mean 'nuc'?"]),
    ("targets: {a: {adress: x, address: x}}", ["f:1:15: targets.a.adress: unknown key; did you mean 'address'?"]),
    ("targets: {a: {address: x, boots: kexec}}", ["f:1:27: targets.a.boots: unknown key; did you mean 'boot'?"]),
    ("targets: {a: {address: x, port: '22'}}", ["f:1:33: targets.a.port: expected a whole number, found '22'"]),
    ("targets: {a: {address: x, port: 70000}}", ["f:1:33: targets.a.port: expected 1 to 65535, found 70000"]),
    ("targets: {a: {address: x, port: 1e3}}", ["f:1:33: targets.a.port: expected a whole number, found '1e3'"]),
    ("targets: {a: {address: x, port: 22:22}}", ["f:1:33: targets.a.port: expected a whole number, found '22:22'"]),
    (
        "targets: {a: {address: x, port: 022}}",
        [

            f"f:1:33: targets.a.port: expected a whole number, found '022' {OCTAL}"
        ],
    ),
    ("targets: {a: {address: x, user: }}", ["f:1:33: targets.a.user: expected text, found nothing"]),
    ("targets: {a: {address: x, user: [u]}}", ["f:1:33: targets.a.user: expected text, found a list"]),
    ("targets: {a: {address: x, user: -oProxy}}", ["f:1:33: targets.a.user: expected a user's name, found '-oProxy'"]),
    ("targets: {a: {address: -x}}", ["f:1:24: targets.a.address: expected a host name or an IP address, found '-x'"]),
    ("targets: {a: {address: u@x}}", ["f:1:24: targets.a.address: 'u@x': the user goes into the key user"]),
    ("targets: {a: {address: 'x:22'}}", ["f:1:24: targets.a.address: 'x:22': the port goes into the key port"]),
    ("targets: {a: {address: '{nam}'}}", ["f:1:24: targets.a.address: unknown placeholder {nam} (known: {name})"]),
    ("targets: {a: {address: x, proxy_jump: -x}}", [
        "f:1:39: targets.a.proxy_jump: expected a host name or an IP address, found '-x'"]),
    ("targets: {a: {address: x, become: root}}", [
        "f:1:35: targets.a.become: unknown way to become root 'root' (known: none, sudo)"]),
    ("targets: {a: {address: x, arch: arm64}}", [
        "f:1:33: targets.a.arch: unknown architecture 'arm64'; did you mean 'aarch64'?"]),
    ("targets: {a: {address: x, smt: share}}", [
        "f:1:32: targets.a.smt: unknown state of SMT siblings 'share'; did you mean 'shared'?"]),
    ("targets: {a: {address: x, isolated: [2, 3]}}", [
        "f:1:37: targets.a.isolated: expected auto or a CPU list such as 2-3,6, found a list"]),
    ("targets: {a: {address: x, isolated: 3-2}}", [
        "f:1:37: targets.a.isolated: '3-2' in CPU list '3-2' runs backwards"]),
    ("targets: {a: {address: x, isolated: aut}}", [
        "f:1:37: targets.a.isolated: expected auto or a CPU list such as 2-3,6, found 'aut'"]),
    ("targets: {a: {address: x, disabled: yes}}", [
        'f:1:37: targets.a.disabled: say why, in quotes: disabled: "PSU dead" (a target that works has no such key)']),
    ("targets: {a: {address: x, disabled: no}}", [
        'f:1:37: targets.a.disabled: say why, in quotes: disabled: "PSU dead" (a target that works has no such key)']),
    ("targets: {a: {address: x, tags: [ok, a b, {}]}}", [
        f"f:1:38: targets.a.tags[1]: 'a b' cannot be a name: {RULE}",
        "f:1:43: targets.a.tags[2]: expected text, found a mapping"]),
    ("targets: {a: {address: x, host_key: AAAA}}", [
        f"f:1:37: targets.a.host_key: expected the type and the key in base64, as in {PUB}"]),
    ("targets: {a: {address: x, host_key: ssh-ed25591 AAAA}}", [
        "f:1:37: targets.a.host_key: unknown host key type 'ssh-ed25591'; did you mean 'ssh-ed25519'?"]),
    ("targets: {a: {address: x, host_key: ssh-ed25519 A*A}}", [
        "f:1:37: targets.a.host_key: the ssh-ed25519 key is not base64"]),
    (f"targets: {{a: {{address: x, host_key: {HOST_KEY.replace('ssh-ed25519', 'ssh-rsa')}}}}}", [
        "f:1:37: targets.a.host_key: the base64 part is not a key of type ssh-rsa: was it cut short?"]),
    ("targets: {a: {address: x, connect_timeout: 10}}", [
        "f:1:44: targets.a.connect_timeout: a duration needs a unit: 10s, 10ms … (one of ns, us, ms, s, min, h)"]),
    ("targets: {a: {address: x, connect_timeout: 0s}}", [
        "f:1:44: targets.a.connect_timeout: expected 1ms to 1h, found 0s"]),
    ("targets: {../a: {address: x}}", [
        f"f:1:11: targets.\"../a\": '../a' cannot be a name: {RULE}"]),
    ("targets: {a: {address: x, class: rpi}}\nclasses: {rpi5: {}}", [
        "f:1:34: targets.a.class: unknown class 'rpi'; did you mean 'rpi5'?"]),
    ("classes: {a: {class: b}}", ["f:1:15: classes.a.class: unknown key"]),
    ("targets: {local: {address: x}}", ["f:1:19: targets.local.address: local is this machine: there is no way to go"]),
    ("targets: {'[local,a]': {address: x}}", [
        "f:1:11: targets.\"[local,a]\": 'local' is this machine: write it by itself"]),
    ("targets: {'n[1-2]': {address: x}, 'n[2-3]': {address: x}}", [
        "f:1:35: targets.\"n[2-3]\": 'n2' is already in 'n[1-2]'"]),
    ("targets: {'n[1-20000]': {address: x}}", [
        "f:1:11: targets.\"n[1-20000]\": 'n[1-20000]' stands for 20000 names: at most 10000"]),
    ("targets: {'a[1-9999]': {address: x}, 'b[1-9]': {address: x}}", [
        "f:1:38: targets.\"b[1-9]\": more than 10000 targets in one inventory"]),
    ("targets: {'n[1-48]': {}}", ["f:1:11: targets.\"n[1-48]\": no address"]),
    ("targets: {'n[1-48]': {address: '{nam}'}}", [
        "f:1:32: targets.\"n[1-48]\".address: unknown placeholder {nam} (known: {name})"]),
    ("targets: {'n[1-48]': {address: x, serial: A1}}", [
        "f:1:43: targets.\"n[1-48]\".serial: a serial number is of one board: write it under an exact name"]),
    ("known_hosts: [a]\ndefaults: {uesr: x}\ntargets: {a: {port: 0}}", [
        "f:1:14: known_hosts: expected text, found a list",
        "f:2:12: defaults.uesr: unknown key; did you mean 'user'?",
        "f:3:21: targets.a.port: expected 1 to 65535, found 0"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text[:60] for text, _ in BAD])
def test_bad_inventories(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("n[01-03]", ["n01", "n02", "n03"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n[a,b,3-4]-x", ["na-x", "nb-x", "n3-x", "n4-x"]),
        ("[1-2]n[a,b]", ["1na", "1nb", "2na", "2nb"]),
        ("plain", ["plain"]),
        ("n[0-1]", ["n0", "n1"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("n[1-2", "'n[1-2': a bracket without its other half"),
        ("n1-2]", "'n1-2]': a bracket without its other half"),
        ("n[]", "'n[]': expected [01-48] or [a,b], found []"),
        ("n[1-2,]", "'n[1-2,]': expected [01-48] or [a,b], found [1-2,]"),
        ("n[9-1]", "'n[9-1]': the range 9-1 runs backwards"),
        ("n[01-100]", "'n[01-100]': write both ends of 01-100 with the same number of digits"),
        ("n[1-100][1-101]", "'n[1-100][1-101]' stands for 10100 names: at most 10000"),
        ("n[1-999999999]", "'n[1-999999999]' stands for 999999999 names: at most 10000"),
        ("n[1-3,2]", "'n[1-3,2]' gives one name twice"),
    ],
)
def test_bad_ranges(pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        expand(pattern)
    assert str(caught.value) == message


@given(st.text("[]-,01a", max_size=12))
def test_any_pattern_expands_or_says_why(pattern: str) -> None:
    with contextlib.suppress(ValueError):
        assert expand(pattern)


@given(st.text(max_size=12))
def test_substitution_leaves_no_placeholder(text: str) -> None:
    assert "{name}" not in substitute(text.replace("{", "") + "{name}", "n")


def test_how_a_virtual_board_is_booted() -> None:
    found = read(
        """
targets:
  a: {virtual: {arch: aarch64}}
  b: {virtual: {arch: x86_64}, boot: grub-once}
  c: {address: c}
"""
    ).targets
    methods = {name: target.boot and target.boot.method for name, target in found.items()}
    assert methods == {"local": None, "a": "qemu", "b": "grub-once", "c": None}
    assert problems("targets: {c: {address: c, boot: qemu}}") == [
        "f:1:33: targets.c.boot: qemu boots virtual boards only"
    ]
