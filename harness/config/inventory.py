# SPDX-License-Identifier: Apache-2.0
"""Inventory files: the machines. ``local``, this machine, is always there.

What holds for a target comes from four places, the later over the earlier: ``defaults``, its class, the range that
covers its name, its own exact name. Tags add up. ``local`` takes nothing from ``defaults``: they speak of the lab.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from ..agent.spec import SAFE_NAME
from ..errors import ConfigError
from . import names
from .cpuarch import ARCHITECTURES
from .hosts import to_address, to_proxy_jump, to_user
from .kernels import (
    BUILT_IN_BOOT,
    BUILT_IN_KERNEL,
    DEFAULT_KERNEL,
    PLAIN_BOOT,
    Artefact,
    BootMethod,
    BootProfile,
    Kernel,
    KernelKeys,
)
from .targets import CONNECTION, Inventory, Keys, Target, TargetKeys
from .types import Model, problems, to_line, to_name
from .yaml import Document, Loc, describe, load, suggest

__all__ = ["LOCAL", "Inventory", "Target", "load_inventory", "read_inventory"]

LOCAL = "local"
#: How a virtual board is booted, where nothing else is said: of any architecture, whatever the kernel that is left.
VIRTUAL_BOOT = "qemu"
_TOP = ("known_hosts", "defaults", "classes", "targets", "kernels", "boots")
#: How the text of a field is checked once ``{name}`` is filled in.
_CHECKS: dict[str, Callable[[Any], str]] = {
    "address": to_address,
    "user": to_user,
    "identity": to_line,
    "proxy_jump": to_proxy_jump,
}

K = TypeVar("K", bound=Model)
Layer = tuple[Loc, Keys]


def load_inventory(path: Path | None) -> Inventory:
    """The inventory in the file ``path``; with None, this machine alone."""
    if path is None:
        return Inventory(targets={LOCAL: Target(name=LOCAL, local=True)})
    return read_inventory(load(path), path)


def read_inventory(document: Document, path: Path) -> Inventory:
    """``document`` as an inventory; paths in it are relative to the folder of ``path``."""
    return _Reader(document, path).read()


class _Reader:
    """One file to an :class:`Inventory`; every problem is collected, then all are raised in the file's order."""

    def __init__(self, document: Document, path: Path) -> None:
        self.document = document
        self.path = path
        self.folder = path.absolute().parent
        self.found: list[tuple[tuple[int, int], str]] = []
        self.blamed: set[Loc] = set()

    def read(self) -> Inventory:
        data = self.document.data
        for key in data:
            if key not in _TOP:
                self._problem((key,), f"unknown key{suggest(key, _TOP)}", key=True)
        known_hosts = self._known_hosts(data)
        defaults = self._keys(Keys, data["defaults"], ("defaults",)) if "defaults" in data else Keys()
        classes = {name: self._keys(Keys, value, ("classes", name)) for name, value in self._mapping(data, "classes")}
        listed = self._mapping(data, "targets")
        entries = {name: self._keys(TargetKeys, value, ("targets", name)) for name, value in listed}
        for name in classes:
            self._checked(("classes", name), name, to_name, key=True)
        kernels, boots = self._kernels(data), self._boots(data)
        targets: dict[str, Target] = {}
        for name, layers, class_name in self._layers(entries, classes, defaults):
            targets[name] = self._target(name, layers, class_name, known_hosts, list(entries))
        if self.found:
            raise ConfigError([text for _, text in sorted(self.found, key=lambda item: item[0])])
        local = targets.pop(LOCAL, None) or Target(name=LOCAL, local=True)
        return Inventory(targets={LOCAL: local, **targets}, kernels=kernels, boots=boots, path=self.path)

    # --- problems

    def _problem(self, loc: Loc, what: str, *, key: bool = False) -> None:
        """Collected once per place: a range of forty-eight has one fault, not forty-eight."""
        loc = self.document.nearest(loc)
        if loc not in self.blamed:
            self.blamed.add(loc)
            self.found.append((self.document.position(loc, key=key), self.document.problem(loc, what, key=key)))

    def _checked(self, loc: Loc, value: Any, check: Callable[[Any], str], *, key: bool = False) -> str | None:
        try:
            return check(value)
        except ValueError as error:
            self._problem(loc, str(error), key=key)
            return None

    # --- the parts of the file

    def _known_hosts(self, data: dict[str, Any]) -> Path | None:
        if "known_hosts" not in data:
            return None
        text = self._checked(("known_hosts",), data["known_hosts"], to_line)
        return None if text is None else self._path(text)

    def _path(self, text: str) -> Path:
        return self.folder / os.path.expanduser(text)

    def _mapping(self, data: dict[str, Any], key: str) -> list[tuple[str, Any]]:
        value = data.get(key, {})
        if isinstance(value, dict):
            return list(value.items())
        self._problem((key,), f"expected 'name: {{…}}' lines, found {describe(value)}")
        return []

    def _keys(self, model: type[K], value: Any, at: Loc) -> K:
        """``value`` as ``model``; on errors, what is left of it (nothing), so that the rest can be looked at."""
        if value is None:
            return model()
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for place, text in problems(error, self.document, model, at):
                self.found.append((place, text))
            self.blamed.add(at)
            return cast(K, model.model_construct())

    def _kernels(self, data: dict[str, Any]) -> dict[str, Kernel]:
        found = {DEFAULT_KERNEL: BUILT_IN_KERNEL}
        for name, value in self._mapping(data, "kernels"):
            at = ("kernels", name)
            self._checked(at, name, to_name, key=True)
            keys = self._keys(KernelKeys, {} if value is None else value, at)
            if at in self.blamed:
                continue
            archs = {arch: each for arch in ARCHITECTURES if (each := getattr(keys, arch)) is not None}
            artefacts = archs or {"": Artefact.model_construct(**keys.model_dump(include=set(Artefact.model_fields)))}
            if name == DEFAULT_KERNEL and any(each.installed != "" for each in artefacts.values()):
                self._problem(at, f"{DEFAULT_KERNEL} is what the machine boots by itself: {{installed: true}}")
            found[name] = Kernel(name=name, artefacts={arch: self._absolute(each) for arch, each in artefacts.items()})
        return found

    def _absolute(self, artefact: Artefact) -> Artefact:
        paths = ("deb", "tar", "image", "modules", "dtbs", "initrd", "config")
        written = {key: value for key in paths if (value := getattr(artefact, key)) is not None}
        return artefact.model_copy(update={key: str(self._path(value)) for key, value in written.items()})

    def _boots(self, data: dict[str, Any]) -> dict[str, BootProfile]:
        found = {PLAIN_BOOT: BUILT_IN_BOOT}
        for name, value in self._mapping(data, "boots"):
            at = ("boots", name)
            self._checked(at, name, to_name, key=True)
            found[name] = self._keys(BootProfile, value, at)
            if name == PLAIN_BOOT and not found[name].is_plain:
                self._problem(at, f"{PLAIN_BOOT} is the machine's own command line: call one with changes otherwise")
        return found

    # --- merging

    def _layers(
        self, entries: dict[str, TargetKeys], classes: dict[str, Keys], defaults: Keys
    ) -> list[tuple[str, list[Layer], str | None]]:
        """(name, layers from weak to strong, class) of each target, in the order of the file."""
        ranges = self._ranges(entries)
        covered: dict[str, str] = {name: pattern for pattern, found in ranges.items() for name in found}
        result: list[tuple[str, list[Layer], str | None]] = []
        for pattern, entry in entries.items():
            if pattern in ranges:
                chosen = [name for name in ranges[pattern] if covered[name] == pattern]
            else:
                chosen = [] if pattern in covered else [pattern]
            for name in chosen:
                own: list[Layer] = [(("targets", pattern), entry)]
                class_name = entry.class_name
                if name != pattern and name in entries:
                    own.append((("targets", name), entries[name]))
                    class_name = entries[name].class_name or class_name
                layers: list[Layer] = [] if name == LOCAL else [(("defaults",), defaults)]
                if class_name is not None:
                    if class_name in classes:
                        layers.append((("classes", class_name), classes[class_name]))
                    else:
                        what = f"unknown class {class_name!r}{suggest(class_name, classes)}"
                        said = own[-1] if "class_name" in own[-1][1].model_fields_set else own[0]
                        self._problem((*said[0], "class"), what)
                result.append((name, layers + own, class_name))
        return result

    def _ranges(self, entries: dict[str, TargetKeys]) -> dict[str, list[str]]:
        ranges: dict[str, list[str]] = {}
        owner: dict[str, str] = {}
        total = 0
        for pattern in entries:
            at = ("targets", pattern)
            if not names.is_range(pattern):
                self._checked(at, pattern, to_name, key=True)
                total += 1
                continue
            try:
                expanded = names.expand(pattern)
            except ValueError as error:
                self._problem(at, str(error), key=True)
                ranges[pattern] = []
                continue
            wrong = next((name for name in expanded if not SAFE_NAME.fullmatch(name)), None)
            twice = next((name for name in expanded if name in owner), None)
            if wrong is not None:
                self._checked(at, wrong, to_name, key=True)
            elif LOCAL in expanded:
                self._problem(at, f"{LOCAL!r} is this machine: write it by itself", key=True)
            elif twice is not None:
                self._problem(at, f"{twice!r} is already in {owner[twice]!r}", key=True)
            ranges[pattern] = [name for name in expanded if name not in owner and name != LOCAL]
            owner.update(dict.fromkeys(ranges[pattern], pattern))
            total += len(expanded)
            if total > names.MAX_NAMES:
                self._problem(at, f"more than {names.MAX_NAMES} targets in one inventory", key=True)
                ranges[pattern] = []
        return ranges

    # --- one target

    def _target(
        self, name: str, layers: list[Layer], class_name: str | None, known_hosts: Path | None, entries: list[str]
    ) -> Target:
        at = layers[-1][0]
        values: dict[str, Any] = {}
        tags: list[str] = []
        for loc, layer in layers:
            for field in layer.model_fields_set - {"class_name"}:
                value = getattr(layer, field)
                if field == "tags":
                    tags += [tag for tag in value if tag not in tags]
                    continue
                if field == "serial" and isinstance(loc[-1], str) and names.is_range(loc[-1]):
                    self._problem((*loc, field), "a serial number is of one board: write it under an exact name")
                values[field] = self._filled((*loc, field), field, value, name)
        if name == LOCAL:
            for field in CONNECTION:
                if field in layers[-1][1].model_fields_set:
                    alone = field in ("boot", "boot_timeout", "power")
                    why = "nobody would be left to go on" if alone else "there is no way to go"
                    self._problem((*at, field), f"local is this machine: {why}", key=True)
                values.pop(field, None)
        elif values.get("virtual") is not None:
            if "address" in values:
                self._problem((*at, "address"), "a virtual board has none: `isolbench lab up` knows the way", key=True)
            values["arch"] = values["virtual"].arch
            values.setdefault("boot", BootMethod(method=VIRTUAL_BOOT))
        elif "address" not in values and at not in self.blamed:
            known = [entry for entry in entries if entry != name]
            near = suggest(name, known) if not names.is_range(at[-1] if isinstance(at[-1], str) else "") else ""
            self._problem(at, f"no address{near if near.startswith(';') else ''}", key=True)
        identity = values.pop("identity", None)
        timeout_ns = values.pop("connect_timeout", None)
        boot_timeout_ns = values.pop("boot_timeout", None)
        boot = values.pop("boot", None)
        if isinstance(boot, BootMethod) and boot.method == "qemu" and values.get("virtual") is None:
            self._problem((*at, "boot"), "qemu boots virtual boards only")
        if isinstance(boot, BootMethod) and boot.folder is not None:
            folder = self._checked((*at, "boot"), boot.folder, lambda text: names.substitute(text, name))
            boot = None if folder is None else boot.model_copy(update={"folder": str(self._path(folder))})
        return Target(
            boot=boot,
            name=name,
            local=name == LOCAL,
            class_name=class_name,
            tags=tuple(tags),
            known_hosts=known_hosts,
            identity=None if identity is None else self._path(identity),
            connect_timeout_ns=timeout_ns,
            boot_timeout_ns=boot_timeout_ns,
            **values,
        )

    def _filled(self, loc: Loc, field: str, value: Any, name: str) -> Any:
        """``value`` with ``{name}`` filled in and checked. A problem is reported and the value kept, to go on."""
        check = _CHECKS.get(field)
        if check is None:
            return value
        filled = self._checked(loc, value, lambda text: check(names.substitute(text, name)))
        return value if filled is None else filled
