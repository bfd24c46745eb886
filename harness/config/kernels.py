# SPDX-License-Identifier: Apache-2.0
"""Kernels, boot profiles, ways to boot and power switches, as an inventory spells them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .accepts import LINE, TEXT, Schema, accepts, nonempty, one_of
from .cpuarch import ARCHITECTURES
from .types import Line, Model, to_line, to_list, to_nonempty_list, wrong, wrong_at
from .yaml import Loc, Plain, describe, suggest

#: What a target boots by itself, kernel and command line: who says nothing asks for these.
DEFAULT_KERNEL, PLAIN_BOOT = "default", "plain"

#: How a target is made to boot another kernel; the last two take more than their name.
METHODS = ("kexec", "grub-once", "systemd-boot-once", "tryboot", "qemu", "netboot", "command")
_WITH_MORE = ("netboot", "command")
#: What the words of commands may stand for: the target's name and address, and of a boot what is to be booted.
POWER_PLACES = ("name", "address")
BOOT_PLACES = ("name", "address", "kernel", "boot", "release", "image", "initrd", "cmdline")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
#: A parameter as the kernel splits them: blanks count within double quotes only.
_PARAMETER = re.compile(r'(?:[^\s"]|"[^"]*(?:"|$))+')
#: A release, or a pattern that one release on the machine has to match: * and ?, as in a shell.
_INSTALLED = r"[A-Za-z0-9*?][A-Za-z0-9._+~*?-]*"
_NAME_OF_PARAMETER = re.compile(r"[A-Za-z0-9_.-]+")

_ARGV: Schema = nonempty({"type": "array", "prefixItems": [TEXT], "items": {"type": TEXT["type"]}})


def placeholders(text: str, known: Sequence[str]) -> str:
    """``text``; an error if it has ``{…}`` of another name than ``known``."""
    for found in _PLACEHOLDER.findall(text):
        if found not in known:
            listed = ", ".join(f"{{{each}}}" for each in known)
            raise wrong(f"unknown placeholder {{{found}}} (known: {listed})")
    return text


def filled(argv: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """``argv`` with each ``{name}`` of ``values`` in its place. A value is filled in as it is: no shell reads it."""
    return [_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), word) for word in argv]


def _argv(value: Any, known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise wrong("expected a command as a list of its words, [pdu, cycle]: no shell reads it")
    words: list[str] = []
    bad: list[tuple[Loc, str]] = []
    for index, item in enumerate(to_nonempty_list(value)):
        try:
            words.append(placeholders(to_line(item), known))
        except ValueError as error:
            bad.append(((index,), str(error)))
    if bad:
        raise wrong_at(bad)
    return tuple(words)


@accepts(_ARGV)
def _to_power(value: Any) -> tuple[str, ...]:
    return _argv(value, POWER_PLACES)


Argv = Annotated[tuple[str, ...] | None, BeforeValidator(_to_power)]


class Power(Model):
    """Commands, run on the controller, for a board that hangs. ``cycle``, or ``off`` and ``on``."""

    cycle: Argv = None
    off: Argv = None
    on: Argv = None

    @model_validator(mode="after")
    @accepts(
        lambda inner: {
            **inner,
            "anyOf": [{"required": ["cycle"]}, {"required": ["off", "on"]}],
        }
    )
    def _enough(self) -> Power:
        if self.cycle is None and (self.off is None or self.on is None):
            raise wrong("needs cycle, or both off and on")
        return self


class BootMethod(Model):
    """``argv`` is a ``command``'s; ``folder`` a ``netboot``'s, still relative to the inventory's file."""

    method: str
    argv: tuple[str, ...] = ()
    folder: str | None = None


@accepts(
    {
        "anyOf": [
            one_of([each for each in METHODS if each not in _WITH_MORE]),
            {
                "type": "object",
                "properties": {"command": _ARGV, "netboot": LINE},
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ]
    }
)
def to_boot_method(value: Any) -> BootMethod:
    """A method's name, ``{command: [argv…]}`` or ``{netboot: FOLDER}``."""
    if isinstance(value, BootMethod):
        return value
    if isinstance(value, Mapping):
        if len(value) != 1 or next(iter(value)) not in _WITH_MORE:
            raise wrong(f"expected a boot method, {{command: [argv…]}} or {{netboot: FOLDER}}, found {describe(value)}")
        ((method, more),) = value.items()
        if method == "netboot":
            return BootMethod(method=method, folder=to_line(more))
        try:
            return BootMethod(method=method, argv=_argv(more, BOOT_PLACES))
        except ValueError as error:
            raise wrong(f"command: {_first(error)}") from None
    text = to_line(value)
    if text in _WITH_MORE:
        raise wrong(f"{text} needs to know more: {{command: [argv…]}} or {{netboot: FOLDER}}")
    if text not in METHODS:
        raise wrong(f"unknown boot method {text!r}{suggest(text, METHODS)}")
    return BootMethod(method=text)


def _first(error: ValueError) -> str:
    found = getattr(error, "errors", None)
    return str(found(include_url=False)[0]["msg"]) if callable(found) else str(error)


@accepts({"anyOf": [{"const": True}, {**LINE, "pattern": f"^{_INSTALLED}$"}]})
def _to_installed(value: Any) -> str:
    """``true`` is what the target boots by itself, as the empty text; else a release, or a pattern of one."""
    if value is True or (isinstance(value, Plain) and value == "true"):
        return ""
    if value is False or (isinstance(value, Plain) and value == "false"):
        raise wrong("expected true, or the release of an installed kernel")
    if isinstance(value, str) and not isinstance(value, Plain) and not value:
        return ""  # as read before
    text = to_line(value)
    if not re.fullmatch(_INSTALLED, text):
        like = "such as 6.1.0-50-rt-amd64 or *-rt-amd64"
        raise wrong(f"expected true, or the release of an installed kernel {like}, found {text!r}")
    return text


class Artefact(Model):
    """Where a kernel comes from: one of ``installed``, ``deb``, ``tar``, ``image``. Paths as written."""

    installed: Annotated[str | None, BeforeValidator(_to_installed)] = None
    deb: Line | None = None
    tar: Line | None = None
    image: Line | None = None
    modules: Line | None = None
    dtbs: Line | None = None
    initrd: Line | None = None
    config: Line | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(key for key in ("installed", "deb", "tar", "image") if getattr(self, key) is not None)


_FOR_ARCH = Field(None, description="what machines of this architecture get")


class KernelKeys(Artefact):
    """A kernel of the inventory: one artefact for whatever architecture, or one for each."""

    x86_64: Artefact | None = _FOR_ARCH
    aarch64: Artefact | None = _FOR_ARCH
    armv7l: Artefact | None = _FOR_ARCH
    riscv64: Artefact | None = _FOR_ARCH
    ppc64le: Artefact | None = _FOR_ARCH
    s390x: Artefact | None = _FOR_ARCH
    loongarch64: Artefact | None = _FOR_ARCH
    i686: Artefact | None = _FOR_ARCH

    @model_validator(mode="after")
    @accepts(lambda inner: {**inner, "minProperties": 1})
    def _one_source(self) -> KernelKeys:
        archs = [arch for arch in ARCHITECTURES if getattr(self, arch) is not None]
        own = self.model_fields_set - set(ARCHITECTURES)
        bad: list[tuple[Loc, str]] = []
        if archs and own:
            bad.append(((), f"say {sorted(own)[0]} below each architecture, or no architecture at all"))
        places: list[tuple[Loc, Artefact]] = [((arch,), getattr(self, arch)) for arch in archs]
        for loc, artefact in places or [((), self)]:
            if what := _problem(artefact):
                bad.append((loc, what))
        if bad:
            raise wrong_at(bad)
        return self


def _problem(artefact: Artefact) -> str | None:
    if len(artefact.sources) != 1:
        known = "installed, deb, tar, image"
        return f"needs one of {known}" if not artefact.sources else f"takes only one of {known}"
    beside = [key for key in ("modules", "dtbs", "initrd", "config") if getattr(artefact, key) is not None]
    if beside and artefact.image is None:
        return f"{beside[0]} belongs beside image: {artefact.sources[0]} has its own"
    return None


@accepts({"anyOf": [{"type": "string", "pattern": r"^[ -&(-\[\]-~]*$"}, {"type": "null"}]})
def _to_parameters(value: Any) -> tuple[str, ...]:
    """A command line's text as its parameters."""
    if isinstance(value, tuple):
        return value
    if value is None:
        return ()
    if not isinstance(value, str):
        raise wrong(f"expected parameters as on a kernel's command line, found {describe(value)}")
    found: list[str] = []
    for parameter in split_parameters(value):
        check_parameter(parameter)
        found.append(parameter)
    return tuple(found)


def split_parameters(text: str) -> list[str]:
    """As the kernel splits its command line: at blanks, but not within double quotes."""
    return _PARAMETER.findall(text)


def check_parameter(text: str) -> str:
    """``text`` if every boot loader can be told it unchanged; raises what is wrong with it."""
    odd = next((char for char in text if not " " <= char <= "~" or char in "'\\"), None)
    if odd is not None:
        raise wrong(f"{text!r}: {odd!r} cannot go through every boot loader")
    if text.count('"') % 2:
        raise wrong(f"{text!r}: a quotation mark without its other half")
    name = text.partition("=")[0]
    if text == "--":
        raise wrong("'--': what comes after it is init's, not the kernel's")
    if not _NAME_OF_PARAMETER.fullmatch(name):
        raise wrong(f"{text!r}: expected name or name=value")
    return placeholders(text, ("isolated",))


@accepts({"type": "array", "items": {"type": ["string", "number", "boolean"], "pattern": r"^[A-Za-z0-9_.-]+(=.*)?$"}})
def _to_removed(value: Any) -> tuple[str, ...]:
    found: list[str] = []
    bad: list[tuple[Loc, str]] = []
    for index, item in enumerate(to_list(value)):
        try:
            text = to_line(item)
            if len(split_parameters(text)) != 1:
                raise wrong(f"{text!r}: one parameter an item")
            found.append(check_parameter(text))
        except ValueError as error:
            bad.append(((index,), str(error)))
    if bad:
        raise wrong_at(bad)
    return tuple(found)


class BootProfile(Model):
    """Parameters, beside those that the machine has by itself. ``{isolated}`` is yet to be filled in.

    ``remove``: a name, every parameter of it; ``name=value``, that one alone.
    """

    add: Annotated[tuple[str, ...], BeforeValidator(_to_parameters)] = ()
    remove: Annotated[tuple[str, ...], BeforeValidator(_to_removed)] = ()

    @field_validator("add", mode="after")
    @classmethod
    def _once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
        if twice is not None:
            raise wrong(f"{twice!r} is there twice")
        return values

    @property
    def is_plain(self) -> bool:
        return not self.add and not self.remove

    @property
    def needs_isolated(self) -> bool:
        return any("{isolated}" in text for text in (*self.add, *self.remove))

    def for_cpus(self, isolated: str) -> BootProfile:
        """With ``{isolated}`` filled in."""
        return BootProfile(
            add=tuple(text.replace("{isolated}", isolated) for text in self.add),
            remove=tuple(text.replace("{isolated}", isolated) for text in self.remove),
        )

    def to_json(self) -> dict[str, Any]:
        return {"add": list(self.add), "remove": list(self.remove)}


class Kernel(Model):
    """A kernel of the inventory, ready to use: paths are absolute. ``artefacts`` by architecture, ``""`` for any."""

    name: str
    artefacts: dict[str, Artefact]

    def artefact(self, arch: str | None) -> Artefact | None:
        """What a machine of ``arch`` gets; None if there is nothing for it."""
        return self.artefacts.get("") or self.artefacts.get(arch or "")


#: What is there without being written down.
BUILT_IN_KERNEL = Kernel(name=DEFAULT_KERNEL, artefacts={"": Artefact(installed="")})
BUILT_IN_BOOT = BootProfile()
