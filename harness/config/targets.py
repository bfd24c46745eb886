# SPDX-License-Identifier: Apache-2.0
"""The types of an inventory: what a file may say of a machine, and the machine ready to use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from .accepts import CPUS, LINE, NAME, accepts, text_like
from .cpuarch import ARCHITECTURES
from .hosts import to_host_key
from .kernels import (
    BUILT_IN_BOOT,
    BUILT_IN_KERNEL,
    DEFAULT_KERNEL,
    PLAIN_BOOT,
    BootMethod,
    BootProfile,
    Kernel,
    Power,
    to_boot_method,
)
from .types import (
    YAML_BOOLS,
    Line,
    Model,
    at_least,
    choice,
    duration_within,
    to_line,
    to_list,
    to_name,
    wrong,
    wrong_at,
)
from .units import UNITS_NS, parse_cpu_list
from .yaml import Loc, Plain

SMT = ("idle", "shared")

Isolated = Literal["auto"] | tuple[int, ...]


@accepts(CPUS)
def _to_isolated(value: Any) -> Any:
    if isinstance(value, tuple | list):
        raise wrong("expected auto or a CPU list such as 2-3,6, found a list")
    text = to_line(value)
    if text == "auto":
        return text
    try:
        cpus = parse_cpu_list(text)
    except ValueError as error:
        raise wrong(str(error).replace("expected a CPU list", "expected auto or a CPU list")) from None
    return cpus


@accepts({"type": ["string", "number"], "pattern": LINE["pattern"]})
def _to_reason(value: Any) -> str:
    if value is None or (isinstance(value, Plain) and value.lower() in YAML_BOOLS):
        raise wrong('say why, in quotes: disabled: "PSU dead" (a target that works has no such key)')
    return to_line(value)


@accepts({"type": "array", "items": NAME})
def _to_tags(value: Any) -> tuple[str, ...]:
    tags: list[str] = []
    bad: list[tuple[Loc, str]] = []
    for index, item in enumerate(to_list(value)):
        try:
            tags.append(to_name(item))
        except ValueError as error:
            bad.append(((index,), str(error)))
    if bad:
        raise wrong_at(bad)
    return tuple(tags)


#: Within what a person would wait for, and never 0: nothing waits without a deadline.
_to_timeout = duration_within(UNITS_NS["ms"], UNITS_NS["h"])
_to_boot_timeout = duration_within(UNITS_NS["s"], UNITS_NS["h"])


#: What :mod:`.hosts` takes, where ``{name}`` may yet have to be filled in.
_FILLED = r"\{name\}"
_HOST = rf"(?:[A-Za-z0-9]|{_FILLED})(?:[A-Za-z0-9._-]|{_FILLED})*"
_ADDRESS = WithJsonSchema(text_like(rf"{_HOST}|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Za-z.:%_-]*"))
_USER = WithJsonSchema(text_like(rf"(?:[A-Za-z0-9_]|{_FILLED})(?:[A-Za-z0-9._@+\\-]|{_FILLED})*\$?"))
_JUMP = WithJsonSchema(text_like(r"[^-,][^,]*(?:,[^-,][^,]*)*"))


class Keys(Model):
    """What ``defaults``, a class and a target may say. Nothing is said by default."""

    address: Annotated[str | None, BeforeValidator(to_line), _ADDRESS] = None
    port: Annotated[int | None, BeforeValidator(at_least(1, 65535))] = None
    user: Annotated[str | None, BeforeValidator(to_line), _USER] = None
    identity: Annotated[str | None, BeforeValidator(to_line)] = None
    host_key: Annotated[str | None, BeforeValidator(to_host_key)] = None
    proxy_jump: Annotated[str | None, BeforeValidator(to_line), _JUMP] = None
    connect_timeout: Annotated[int | None, BeforeValidator(_to_timeout)] = None
    become: Annotated[str | None, choice(("sudo", "none"), "way to become root")] = None
    arch: Annotated[str | None, choice(ARCHITECTURES, "architecture")] = None
    tags: Annotated[tuple[str, ...], BeforeValidator(_to_tags)] = ()
    isolated: Annotated[Isolated | None, BeforeValidator(_to_isolated)] = None
    smt: Annotated[str | None, choice(SMT, "state of SMT siblings")] = None
    boot: Annotated[BootMethod | None, BeforeValidator(to_boot_method)] = None
    boot_timeout: Annotated[int | None, BeforeValidator(_to_boot_timeout)] = None
    power: Power | None = None
    disabled: Annotated[str | None, BeforeValidator(_to_reason)] = None
    virtual: Virtual | None = None


#: Architectures that virtual boards are of, Debian suites they have images from, flavours of kernel in those.
VIRTUAL_ARCHES = ("x86_64", "aarch64")
IMAGES = ("bookworm", "trixie")
FLAVOURS = ("stock", "rt")
_MEMORY = re.compile(r"([1-9][0-9]{0,5})([MG])")


@accepts(text_like(_MEMORY.pattern))
def _to_memory(value: Any) -> str:
    text = to_line(value)
    match = _MEMORY.fullmatch(text)
    if match is None or not 256 <= int(match[1]) * (1024 if match[2] == "G" else 1) <= 65536:
        raise wrong(f"expected 256M to 64G, found {text!r}")
    return text


class Virtual(Model):
    """A board that is QEMU: ``isolbench lab up`` starts it."""

    arch: Annotated[str, choice(VIRTUAL_ARCHES, "architecture of virtual boards")]
    cpus: Annotated[int, BeforeValidator(at_least(1, 16))] = 2
    memory: Annotated[str, BeforeValidator(_to_memory)] = "1G"
    image: Annotated[str, choice(IMAGES, "image")] = "bookworm"
    kernel: Annotated[str, choice(FLAVOURS, "flavour of kernel")] = "stock"

    @property
    def memory_mb(self) -> int:
        return int(self.memory[:-1]) * (1024 if self.memory[-1] == "G" else 1)


class TargetKeys(Keys):
    class_name: Annotated[Line | None, Field(alias="class")] = None
    serial: Annotated[str | None, BeforeValidator(to_line)] = None
    virtual: Virtual | None = None


#: What says how to get there, and so has no meaning for this machine.
CONNECTION = (
    "address",
    "port",
    "user",
    "identity",
    "host_key",
    "proxy_jump",
    "connect_timeout",
    "virtual",
    "boot",
    "boot_timeout",
    "power",
)


#: What results may carry of a target: no keys, no names of key files.
PUBLIC = {
    "name",
    "local",
    "address",
    "port",
    "user",
    "become",
    "arch",
    "class_name",
    "tags",
    "isolated",
    "smt",
    "disabled",
    "virtual",
}


class Target(Model):
    """A machine under test, ready to use. ``None`` for port, user, identity, timeout: as ``~/.ssh/config`` says.

    ``become``: ``"sudo"`` must work, ``"none"`` is not to be tried, ``None`` is used where it needs no password.
    ``isolated`` is ``"auto"`` (what the machine itself reports) or the CPU numbers. ``disabled`` is the reason.
    ``smt`` is ``"shared"`` where the siblings of measured CPUs are declared to be in use.
    ``boot`` is how it is made to boot another kernel; ``power`` what helps a board that hangs. ``boot_timeout_ns`` is
    how long a boot of it is waited for, None: as long as earlier ones make sensible.
    ``serial`` is the board's, if no other may answer under this name.
    """

    name: str
    local: bool = False
    address: str | None = None
    port: int | None = None
    user: str | None = None
    identity: Path | None = None
    host_key: str | None = None
    serial: str | None = None
    known_hosts: Path | None = None
    proxy_jump: str | None = None
    connect_timeout_ns: int | None = None
    become: Literal["sudo", "none"] | None = None
    arch: str | None = None
    class_name: str | None = None
    tags: tuple[str, ...] = ()
    isolated: Isolated = "auto"
    smt: Literal["idle", "shared"] = "idle"
    boot: BootMethod | None = None
    boot_timeout_ns: int | None = None
    power: Power | None = None
    disabled: str | None = None
    virtual: Virtual | None = None

    @property
    def connect_timeout(self) -> float | None:
        """Seconds."""
        return None if self.connect_timeout_ns is None else self.connect_timeout_ns / UNITS_NS["s"]

    @property
    def boot_timeout(self) -> float | None:
        """Seconds."""
        return None if self.boot_timeout_ns is None else self.boot_timeout_ns / UNITS_NS["s"]

    def public(self) -> dict[str, Any]:
        """The part that results may carry, as JSON."""
        return self.model_dump(mode="json", include=PUBLIC)


class Inventory(Model):
    """``targets`` by name, ``local`` first, then in the order of the file; ``kernels`` and ``boots`` by name.

    The kernel ``default`` and the boot profile ``plain`` are what a machine boots by itself: they are always there.
    """

    targets: dict[str, Target]
    kernels: dict[str, Kernel] = Field(default_factory=lambda: {DEFAULT_KERNEL: BUILT_IN_KERNEL})
    boots: dict[str, BootProfile] = Field(default_factory=lambda: {PLAIN_BOOT: BUILT_IN_BOOT})
    path: Path | None = None
