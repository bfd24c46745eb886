# SPDX-License-Identifier: Apache-2.0
"""Kernel command lines: making one of a machine's own and a boot profile, and reading what one asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..config.kernels import BootProfile, split_parameters
from ..config.units import parse_cpu_list

#: Of these there may be several, and each counts: a profile's come to the machine's own.
_SEVERAL = {
    *("console", "earlycon", "memmap", "initcall_blacklist", "modprobe.blacklist"),
    *("systemd.mask", "systemd.wants", "systemd.setenv"),
}
#: What a boot loader adds by itself: it is not the machine's own to keep.
_LOADERS = ("BOOT_IMAGE", "initrd")
#: A kernel that panics boots again, and that is the machine's default. A profile may say otherwise.
PANIC = "panic=10"


def name_of(parameter: str) -> str:
    """The name, as the kernel compares names: a dash is an underscore."""
    return parameter.strip('"').partition("=")[0].replace("-", "_")


def same(one: str, other: str) -> bool:
    """Whether two parameters are the same to the kernel: a boot loader may move quotation marks."""
    values = [parameter.replace('"', "").partition("=")[1:] for parameter in (one, other)]
    return name_of(one) == name_of(other) and values[0] == values[1]


def kernels_own(line: str) -> list[str]:
    """The parameters of ``line`` that are the kernel's: those before ``--``."""
    found = split_parameters(line)
    return found[: found.index("--")] if "--" in found else found


def matches(parameter: str, removed: str) -> bool:
    """Whether ``removed``, a name or ``name=value``, speaks of ``parameter``."""
    return same(parameter, removed) if "=" in removed else name_of(parameter) == name_of(removed)


def with_profile(own: str, profile: BootProfile) -> str:
    """The command line ``own`` of a machine's default, changed as ``profile`` wants it.

    With ``panic=10``, unless the profile adds or removes that itself.
    """
    add = list(profile.add)
    if not any(name_of(each) == "panic" for each in add) and not any(matches(PANIC, each) for each in profile.remove):
        add.append(PANIC)
    replaced = {name_of(each) for each in add} - _SEVERAL
    words = split_parameters(own)
    kernel, rest = kernels_own(own), words[len(kernels_own(own)) :]
    kept = [
        each
        for each in kernel
        if name_of(each) not in replaced
        and name_of(each) not in _LOADERS
        and not any(matches(each, removed) for removed in profile.remove)
        and not any(same(each, added) for added in add)
    ]
    return " ".join([*kept, *add, *rest])


def missing(line: str, added: Iterable[str]) -> list[str]:
    """Those of ``added`` that are not in force on ``line``: absent, or with another of their name after them.

    Where several of a name are added (``hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512``) all of them come last.
    """
    kernel, asked = kernels_own(line), list(added)
    found: list[str] = []
    for each in asked:
        there = [parameter for parameter in kernel if name_of(parameter) == name_of(each)]
        if name_of(each) not in _SEVERAL:
            wanted = [one for one in asked if name_of(one) == name_of(each)]
            last = there[-len(wanted) :]
            there = last if len(last) == len(wanted) and all(map(same, last, wanted)) else []
        if not any(same(parameter, each) for parameter in there):
            found.append(each)
    return found


def still_there(line: str, removed: Iterable[str]) -> list[str]:
    """The parameters of ``line`` of which ``removed`` says that they should not be there."""
    taken = list(removed)
    return [each for each in kernels_own(line) if any(matches(each, one) for one in taken)]


def asked_isolated(parameters: Iterable[str]) -> tuple[int, ...] | None:
    """The CPUs that ``isolcpus=`` takes from the scheduler; None where it is not asked for, or not in plain numbers."""
    value = _last(parameters, "isolcpus")
    if value is None:
        return None
    words = value.split(",")
    flags = []
    while words and not words[0][:1].isdigit():
        flags.append(words.pop(0))
    if flags and "domain" not in flags:
        return None
    return _cpus(",".join(words))


def asked_nohz_full(parameters: Iterable[str]) -> tuple[int, ...] | None:
    value = _last(parameters, "nohz_full")
    return None if value is None else _cpus(value)


def _last(parameters: Iterable[str], name: str) -> str | None:
    values = [each.replace('"', "").partition("=")[2] for each in parameters if name_of(each) == name]
    return values[-1] if values else None


def _cpus(text: str) -> tuple[int, ...] | None:
    try:
        return tuple(sorted(parse_cpu_list(text)))
    except ValueError:
        return None
