# SPDX-License-Identifier: Apache-2.0
"""A cell, and the id that hashes what was asked for.

The id is the truth of *what was asked*, by inventory name, with every default left out. So an axis that is added later
changes no id as long as its default is asked for, and the results of years stay one series. This is why nothing in
:func:`asked` may change for a cell that could be asked for before; ``tests/unit/plan/test_cells.py`` holds golden ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..agent.spec import LoadSpec, ModeSpec
from ..config.campaign import DEFAULT_SETTLE_NS
from ..config.kernels import DEFAULT_KERNEL, PLAIN_BOOT

DIGITS = 12
#: How much of each name an id shows: with all its suffixes a run's name stays a safe name (120 characters).
_SHOWN = (32, 36, 24)

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


@dataclass(frozen=True, slots=True, order=True)
class Booted:
    """What is booted: a kernel and a boot profile, by their names in the inventory."""

    kernel: str = DEFAULT_KERNEL
    boot: str = PLAIN_BOOT

    @property
    def is_default(self) -> bool:
        """Whether this is what a machine boots by itself."""
        return (self.kernel, self.boot) == (DEFAULT_KERNEL, PLAIN_BOOT)

    def __str__(self) -> str:
        return f"{self.kernel} {self.boot}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the matrix. ``params`` are all parameters as the probe's options: ``{"threshold": "1000ns"}``."""

    id: str
    target: str
    bench: str
    params: Mapping[str, str]
    mode: ModeSpec
    load: LoadSpec
    settle_ns: int
    duration_ns: int
    cpus: str = "one"
    control: bool = False
    tune: tuple[str, ...] = ()  # sorted
    helper: str | None = None  # the bench's: the probe's option for the CPU of its helper
    polls: bool = False  # the bench's
    attributes: bool = False  # the bench's
    attribution: str = "off"
    kernel: str = DEFAULT_KERNEL
    boot: str = PLAIN_BOOT

    @property
    def booted(self) -> Booted:
        return Booted(self.kernel, self.boot)

    @property
    def together(self) -> bool:
        """May its runs have several probes, that begin at one time?"""
        return self.control or (self.cpus == "all" and self.mode.where != "shared")

    def to_json(self) -> dict[str, Any]:
        """Modes and loads by name: the plan has their meaning."""
        return {
            "cell": self.id,
            "target": self.target,
            "bench": self.bench,
            "params": dict(self.params),
            "mode": self.mode.name,
            "load": self.load.name,
            "settle_ns": self.settle_ns,
            "duration_ns": self.duration_ns,
            "cpus": self.cpus,
            "control": self.control,
            "attribution": self.attribution,
            "tune": list(self.tune),
            "kernel": self.kernel,
            "boot": self.boot,
        }


def mode_key(mode: ModeSpec) -> dict[str, str]:
    """What is asked of the scheduler and the kernel, whatever it is called; empty for the default, ``shared``."""
    parts = {"where": (mode.where, "shared"), "sched": (mode.sched, "other"), "hold": (mode.hold, "none")}
    return {part: value for part, (value, default) in parts.items() if value != default}


def load_key(load: LoadSpec) -> str | list[str]:
    """The command itself, or the name of a load that isolbench brings; empty for the default, ``idle``."""
    if load.kind == "argv":
        return list(load.argv)
    return "" if load.kind == "idle" else load.kind


def asked(
    *,
    target: str,
    bench: str,
    params: Mapping[str, Any],
    mode: ModeSpec,
    load: LoadSpec,
    settle_ns: int,
    duration_ns: int,
    cpus: str = "one",
    control: bool = False,
    attribution: str = "off",
    tune: Sequence[str] = (),
    kernel: str = DEFAULT_KERNEL,
    boot: str = PLAIN_BOOT,
) -> dict[str, Any]:
    """What the id hashes. ``params`` are those that differ from the bench's defaults, typed (durations in ns)."""
    found: dict[str, Any] = {"target": target, "bench": bench, "duration_ns": duration_ns}
    optional = {"params": dict(params), "mode": mode_key(mode), "load": load_key(load)}
    found.update({key: value for key, value in optional.items() if value})
    if settle_ns != DEFAULT_SETTLE_NS:
        found["settle_ns"] = settle_ns
    if cpus != "one":
        found["cpus"] = cpus
    if control:
        found["control"] = True
    if attribution != "off":
        found["attribution"] = attribution
    if tune:
        found["tune"] = sorted(tune)
    if kernel != DEFAULT_KERNEL:
        found["kernel"] = kernel
    if boot != PLAIN_BOOT:
        found["boot"] = boot
    return found


def cell_id(bench: str, mode: str, load: str, what: Mapping[str, Any]) -> str:
    """``<bench>.<mode>.<load>-<12 hex digits of what was asked>``."""
    digest = hashlib.sha256(_encode(what).encode("ascii")).hexdigest()
    return f"{bench[: _SHOWN[0]]}.{mode[: _SHOWN[1]]}.{load[: _SHOWN[2]]}-{digest[:DIGITS]}"
