# SPDX-License-Identifier: Apache-2.0
"""Kernels, boot profiles, ways to boot and power switches: as written, as refused, as handed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.inventory import Inventory, load_inventory, read_inventory
from harness.config.kernels import BootProfile, filled, split_parameters
from harness.config.yaml import parse
from harness.errors import ConfigError

HEAD = "targets: {nuc: {address: n}}\n"
FULL = """\
targets:
  nuc: {address: nuc.lan, boot: grub-once, isolated: 2-3}
  "pi-[1-2]":
    address: "{name}.lan"
    boot: {netboot: "tftp/{name}"}
    power: {"off": [pdu, "off", "{name}"], "on": [pdu, "on", "{address}"]}
  lava: {address: l, boot: {command: [lava-boot, "{name}", "{image}", "{cmdline}"]}, power: {cycle: [pdu, cycle]}}
kernels:
  default: {installed: true}
  rt: {installed: 6.1.0-50-rt-amd64}
  next:
    x86_64: {image: bzImage, modules: m.tar.gz, initrd: i.img, config: .config}
    aarch64: {image: /k/Image, dtbs: dtbs/}
  deb: {deb: linux.deb}
boots:
  plain: {}
  quiet: {add: "isolcpus=managed_irq,domain,{isolated} dyndbg=\\"file a.c +p\\"", remove: [splash, console=ttyS0]}
"""


def read(text: str) -> Inventory:
    return read_inventory(parse(text, "i.yaml"), Path("/lab/i.yaml"))


def test_a_pattern_may_stand_for_a_release() -> None:
    rt = read("targets: {}\nkernels: {rt: {installed: '6.?.*-rt-amd64'}}").kernels["rt"].artefact(None)
    assert rt is not None
    assert rt.installed == "6.?.*-rt-amd64"


def test_everything_at_once() -> None:
    found = read(FULL)
    assert list(found.kernels) == ["default", "rt", "next", "deb"]
    assert found.kernels["default"].artefact("s390x") == found.kernels["default"].artefacts[""]
    rt, deb = found.kernels["rt"].artefact("x86_64"), found.kernels["deb"].artefact("x86_64")
    assert rt is not None
    assert (rt.installed, rt.sources) == ("6.1.0-50-rt-amd64", ("installed",))
    assert deb is not None
    assert deb.deb == "/lab/linux.deb"
    x86, arm = (found.kernels["next"].artefact(arch) for arch in ("x86_64", "aarch64"))
    assert x86 is not None
    assert arm is not None
    assert (x86.image, x86.modules, x86.initrd, x86.config) == (
        "/lab/bzImage", "/lab/m.tar.gz", "/lab/i.img", "/lab/.config",
    )  # fmt: skip
    assert (arm.image, arm.dtbs) == ("/k/Image", "/lab/dtbs")
    assert found.kernels["next"].artefact("riscv64") is None
    assert found.boots["plain"].is_plain
    quiet = found.boots["quiet"].for_cpus("2-3")
    assert quiet.add == ("isolcpus=managed_irq,domain,2-3", 'dyndbg="file a.c +p"')
    assert quiet.remove == ("splash", "console=ttyS0")


def test_the_ways_to_boot_and_to_switch() -> None:
    targets = read(FULL).targets
    grub, pi, lava = (targets[name].boot for name in ("nuc", "pi-2", "lava"))
    assert grub is not None
    assert pi is not None
    assert lava is not None
    assert (grub.method, pi.method, lava.method) == ("grub-once", "netboot", "command")
    assert pi.folder == "/lab/tftp/pi-2"
    assert lava.argv == ("lava-boot", "{name}", "{image}", "{cmdline}")
    power = targets["pi-1"].power
    assert power is not None
    assert filled(power.on or (), {"name": "pi-1", "address": "pi-1.lan"}) == ["pdu", "on", "pi-1.lan"]
    assert targets["nuc"].power is None
    assert targets["local"].boot is None


def test_what_is_there_by_itself() -> None:
    found = load_inventory(None)
    assert (list(found.kernels), list(found.boots)) == (["default"], ["plain"])
    assert read(HEAD).kernels == found.kernels


def test_a_value_is_filled_in_once_and_as_it_is() -> None:
    assert filled(["a", "{name}", "x={cmdline}"], {"name": "{cmdline}", "cmdline": "$(reboot) {name}"}) == [
        "a", "{cmdline}", "x=$(reboot) {name}",
    ]  # fmt: skip


BAD: list[tuple[str, list[str]]] = [
    (HEAD + "kernels: {a: {}}", ["i.yaml:2:14: kernels.a: needs one of installed, deb, tar, image"]),
    (HEAD + "kernels: {a: }", ["i.yaml:2:14: kernels.a: needs one of installed, deb, tar, image"]),
    (
        HEAD + "kernels: {a: {deb: d, image: i}}",
        ["i.yaml:2:14: kernels.a: takes only one of installed, deb, tar, image"],
    ),
    (
        HEAD + "kernels: {a: {deb: d, modules: m}}",
        ["i.yaml:2:14: kernels.a: modules belongs beside image: deb has its own"],
    ),
    (
        HEAD + "kernels: {a: {deb: d, x86_64: {image: i}}}",
        ["i.yaml:2:14: kernels.a: say deb below each architecture, or no architecture at all"],
    ),
    (HEAD + "kernels: {a: {x86_64: {}}}", ["i.yaml:2:23: kernels.a.x86_64: needs one of installed, deb, tar, image"]),
    (HEAD + "kernels: {a: {x86: {deb: d}}}", ["i.yaml:2:15: kernels.a.x86: unknown key; did you mean 'x86_64'?"]),
    (
        HEAD + "kernels: {a: {x86_64: {dep: d}}}",
        ["i.yaml:2:24: kernels.a.x86_64.dep: unknown key; did you mean 'deb'?"],
    ),
    (
        HEAD + "kernels: {default: {deb: d}}",
        ["i.yaml:2:20: kernels.default: default is what the machine boots by itself: {installed: true}"],
    ),
    (HEAD + "kernels: {../a: {deb: d}}", ["i.yaml:2:11: kernels.\"../a\": '../a' cannot be a name"]),
    (
        HEAD + "kernels: {a: {installed: false}}",
        ["i.yaml:2:26: kernels.a.installed: expected true, or the release of an installed kernel"],
    ),
    (HEAD + "kernels: {a: {installed: ../x}}", ["i.yaml:2:26: kernels.a.installed: expected true, or the release"]),
    (
        HEAD + "boots: {plain: {add: nosmt}}",
        ["i.yaml:2:16: boots.plain: plain is the machine's own command line: call one with changes otherwise"],
    ),
    (
        HEAD + "boots: {a: {add: [nosmt]}}",
        ["i.yaml:2:18: boots.a.add: expected parameters as on a kernel's command line"],
    ),
    (HEAD + "boots: {a: {add: nosmt nosmt}}", ["i.yaml:2:18: boots.a.add: 'nosmt' is there twice"]),
    (
        HEAD + "boots: {a: {add: \"x='y'\"}}",
        ['i.yaml:2:18: boots.a.add: "x=\'y\'": "\'" cannot go through every boot loader'],
    ),
    (
        HEAD + "boots: {a: {add: 'x=\"y'}}",
        ["i.yaml:2:18: boots.a.add: 'x=\"y': a quotation mark without its other half"],
    ),
    (HEAD + "boots: {a: {add: x=1 -- single}}", ["i.yaml:2:18: boots.a.add: '--': what comes after it is init's"]),
    (
        HEAD + 'boots: {a: {add: "nohz_full={isolatd}"}}',
        ["i.yaml:2:18: boots.a.add: unknown placeholder {isolatd} (known: {isolated})"],
    ),
    (
        HEAD + "boots: {a: {remove: [quiet splash]}}",
        ["i.yaml:2:22: boots.a.remove[0]: 'quiet splash': one parameter an item"],
    ),
    ("targets: {n: {address: n, boot: grub}}", ["i.yaml:1:33: targets.n.boot: unknown boot method 'grub'"]),
    ("targets: {n: {address: n, boot: command}}", ["i.yaml:1:33: targets.n.boot: command needs to know more"]),
    (
        "targets: {n: {address: n, boot: {command: reboot now}}}",
        ["i.yaml:1:33: targets.n.boot: command: expected a command as a list of its words"],
    ),
    (
        'targets: {n: {address: n, boot: {command: [x, "{nam}"]}}}',
        ["i.yaml:1:33: targets.n.boot: command: unknown placeholder {nam}"],
    ),
    ("targets: {n: {address: n, boot: {kexec: x}}}", ["i.yaml:1:33: targets.n.boot: expected a boot method"]),
    ("targets: {n: {address: n, power: {}}}", ["i.yaml:1:34: targets.n.power: needs cycle, or both off and on"]),
    (
        "targets: {n: {address: n, power: {'on': [x]}}}",
        ["i.yaml:1:34: targets.n.power: needs cycle, or both off and on"],
    ),
    (
        "targets: {n: {address: n, power: {cycle: pdu cycle}}}",
        ["i.yaml:1:42: targets.n.power.cycle: expected a command as a list of its words"],
    ),
    (
        'targets: {n: {address: n, power: {cycle: [pdu, "{cmdline}"]}}}',
        ["i.yaml:1:48: targets.n.power.cycle[1]: unknown placeholder {cmdline} (known: {name}, {address})"],
    ),
    ("targets: {local: {boot: kexec}}", ["i.yaml:1:19: targets.local.boot: local is this machine"]),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text[-50:] for text, _ in BAD])
def test_what_is_refused(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    found = caught.value.problems
    assert len(found) == len(expected)
    assert [line[: len(start)] for line, start in zip(found, expected, strict=True)] == expected


WORD = st.from_regex(r'\A[a-z_.]{1,6}(=([a-z0-9,]{0,6}|"[a-z ]{0,6}"))?\Z')


@given(st.lists(WORD, unique=True, max_size=6), st.sampled_from([" ", "  ", "\t", " \n "]))
def test_parameters_are_split_as_the_kernel_splits_them(words: list[str], blank: str) -> None:
    assert split_parameters(blank.join(words)) == words
    assert BootProfile(add=blank.join(words)).add == tuple(words)  # type: ignore[arg-type]
