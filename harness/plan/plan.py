# SPDX-License-Identifier: Apache-2.0
"""A plan: the resolved campaign and its cells, before anybody has talked to a target; to ``plan.json`` and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from ..agent.spec import LoadSpec, ModeSpec, SpecError, safe_name
from ..config.bench import Bench
from ..config.campaign import Campaign, campaign_from_data
from ..config.inventory import Inventory
from ..config.kernels import DEFAULT_KERNEL, PLAIN_BOOT, Artefact, BootProfile, Kernel, check_parameter
from ..errors import ConfigError, PlanError
from .bootable import check_bootable, check_boots
from .cells import Cell
from .estimate import Estimate, estimate
from .matrix import build_cells
from .select import apply_sets, select_targets

#: Schema history of plan.json: 1 first.
SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """What an execution carries out. ``campaign`` has every ``--set`` applied.

    ``cells`` lie target by target; ``disabled`` are the selected targets that take no part, with the reason;
    ``kernels`` and ``profiles`` are those of the inventory that cells name, with every ``--kernel`` in their place;
    ``hashes`` are those of the files that kernels come from, by name and architecture, as they were when the execution
    began (empty before); ``filtered`` is how many cells ``include`` and ``exclude`` took away; ``inventory`` the public
    part of each target.
    """

    campaign: Campaign
    benches: Mapping[str, Bench]
    cells: tuple[Cell, ...]
    disabled: Mapping[str, str] = field(default_factory=dict)
    filtered: int = 0
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    profiles: Mapping[str, BootProfile] = field(default_factory=dict)
    inventory: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that have cells, in order."""
        return tuple(self._by_target)

    @property
    def repeat(self) -> int:
        return self.campaign.repeat

    @property
    def sessions(self) -> int:
        return self.campaign.sessions

    @property
    def runs(self) -> int:
        return len(self.cells) * self.repeat * self.sessions

    @property
    def boots(self) -> bool:
        """Whether targets are booted: before each session."""
        return self.campaign.axes.boots

    @property
    def estimate(self) -> Estimate:
        return estimate(self.cells, self.repeat, self.sessions, boots=self.boots)

    def cells_of(self, target: str) -> tuple[Cell, ...]:
        return self._by_target.get(target, ())

    @cached_property
    def _by_target(self) -> dict[str, tuple[Cell, ...]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.target, []).append(cell)
        return {target: tuple(cells) for target, cells in found.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain data; an execution adds its own keys beside these."""
        modes = {cell.mode.name: asdict(cell.mode) for cell in self.cells}
        loads = {cell.load.name: asdict(cell.load) for cell in self.cells}
        return {
            "schema": SCHEMA,
            "campaign": self.campaign.name,
            "config": self.campaign.to_yaml_data(),
            "benches": {name: bench.model_dump(mode="json", exclude_none=True) for name, bench in self.benches.items()},
            "targets": list(self.targets),
            "disabled": dict(self.disabled),
            "filtered": self.filtered,
            "inventory": {name: dict(public) for name, public in self.inventory.items()},
            "modes": modes,
            "loads": loads,
            "kernels": {
                name: kernel.model_dump(mode="json", exclude_none=True) for name, kernel in self.kernels.items()
            },
            "hashes": {name: dict(each) for name, each in self.hashes.items()},
            "boots": {name: profile.to_json() for name, profile in self.profiles.items()},
            "cells": [cell.to_json() for cell in self.cells],
        }

    @classmethod
    def from_json(cls, data: Any, name: str = "plan.json") -> Plan:
        """What :meth:`to_json` gave, other keys ignored; else :class:`ConfigError` naming ``name``."""
        try:
            schema = data["schema"]
            if schema != SCHEMA:
                raise ConfigError([f"{name}: schema {schema!r}: written by a newer isolbench? This one reads {SCHEMA}"])
            benches = {key: Bench.model_validate(value) for key, value in data["benches"].items()}
            modes = {key: ModeSpec(**value) for key, value in data["modes"].items()}
            loads = {key: LoadSpec(**value) for key, value in data["loads"].items()}
            return cls(
                campaign=campaign_from_data(data["config"], benches),
                benches=benches,
                cells=tuple(_cell(item, benches, modes, loads) for item in data["cells"]),
                disabled=dict(data["disabled"]),
                filtered=int(data["filtered"]),
                kernels={key: _kernel(value) for key, value in data.get("kernels", {}).items()},
                hashes={key: dict(value) for key, value in data.get("hashes", {}).items()},
                profiles={key: _profile(value) for key, value in data.get("boots", {}).items()},
                inventory=dict(data["inventory"]),
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ConfigError([f"{name}: not a plan: {where}: {first['msg']}"]) from None
        except KeyError as error:
            raise ConfigError([f"{name}: not a plan: no {error}"]) from None
        except (TypeError, AttributeError, ValueError, SpecError) as error:
            raise ConfigError([f"{name}: not a plan: {error}"]) from None


def _kernel(item: Mapping[str, Any]) -> Kernel:
    artefacts = {arch: Artefact.model_validate(each) for arch, each in item["artefacts"].items()}
    return Kernel(name=safe_name(item["name"], "kernel"), artefacts=artefacts)


def _profile(item: Mapping[str, Any]) -> BootProfile:
    add, remove = (tuple(check_parameter(str(each)) for each in item[key]) for key in ("add", "remove"))
    return BootProfile(add=add, remove=remove)


def _cell(
    item: Mapping[str, Any],
    benches: Mapping[str, Bench],
    modes: Mapping[str, ModeSpec],
    loads: Mapping[str, LoadSpec],
) -> Cell:
    cell = Cell(
        id=safe_name(item["cell"], "cell"),
        target=safe_name(item["target"], "target"),
        bench=safe_name(item["bench"], "bench"),
        params={str(key): str(value) for key, value in item["params"].items()},
        mode=modes[item["mode"]],
        load=loads[item["load"]],
        settle_ns=int(item["settle_ns"]),
        duration_ns=int(item["duration_ns"]),
        cpus=str(item.get("cpus", "one")),
        control=bool(item.get("control", False)),
        attribution=str(item.get("attribution", "off")),
        tune=tuple(safe_name(name, "tune") for name in item.get("tune", ())),
        kernel=safe_name(item.get("kernel", DEFAULT_KERNEL), "kernel"),
        boot=safe_name(item.get("boot", PLAIN_BOOT), "boot"),
    )
    if cell.bench not in benches:
        raise ValueError(f"a cell's bench {cell.bench!r} is not defined in it")
    bench = benches[cell.bench]
    return replace(cell, helper=bench.helper, polls=bench.polls, attributes=bool(bench.attributes))


def build_plan(
    campaign: Campaign,
    inventory: Inventory,
    benches: Mapping[str, Bench] | None = None,
    *,
    sets: Sequence[str] = (),
    targets: Sequence[str] = (),
    kernels: Mapping[str, Artefact] | None = None,
) -> Plan:
    """The plan of ``campaign`` on ``inventory``; :class:`PlanError` if it asks for what cannot be, or for nothing.

    ``benches``: definitions by name (by default those the campaign was loaded with). ``sets``: ``axis=value[,value]``,
    in the place of what the file says. ``kernels``: artefacts in the place of what the inventory says of them; a name
    that it does not have is one more kernel. ``targets``: names, globs and ``tag:NAME`` in the place of the campaign's.
    """
    definitions = campaign.definitions if benches is None else benches
    campaign = apply_sets(campaign, sets)
    named = tuple(targets) or campaign.targets

    def problem(index: int, what: str) -> str:
        return f"--target {named[index]}: {what}" if targets else campaign.problem(("targets", index), what)

    selected = select_targets(named, inventory.targets, problem)
    disabled = {name: why for name in selected if (why := inventory.targets[name].disabled) is not None}
    able = [name for name in selected if name not in disabled]
    if not able:
        what = "every selected target is disabled: " + ", ".join(f"{k} ({v})" for k, v in disabled.items())
        raise PlanError(what if targets else campaign.problem(("targets",), what))
    used = {use.bench: definitions[use.bench] for use in campaign.benches}
    known = {
        **inventory.kernels,
        **{name: Kernel(name=name, artefacts={"": each}) for name, each in (kernels or {}).items()},
    }
    check_boots(campaign, known, inventory.boots, kernels or {})
    cells, filtered = build_cells(campaign, able, inventory.targets, used)
    check_bootable(campaign, cells, inventory, known)
    public = {name: inventory.targets[name].public() for name in selected}
    return Plan(
        campaign,
        used,
        tuple(cells),
        disabled,
        filtered,
        {name: known[name] for name in dict.fromkeys(cell.kernel for cell in cells)},
        {name: inventory.boots[name] for name in dict.fromkeys(cell.boot for cell in cells)},
        public,
    )
