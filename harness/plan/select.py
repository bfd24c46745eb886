# SPDX-License-Identifier: Apache-2.0
"""Names, globs and tags to targets; ``--set`` to a changed campaign."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..config.campaign import (
    MAX_RUNS_PER_CELL,
    Axes,
    BenchUse,
    Campaign,
    to_attribution,
    to_cpus,
    to_knob,
    to_repeat,
    to_run_duration,
    to_sessions,
    to_settle,
)
from ..config.inventory import LOCAL, Target
from ..config.modes import to_load, to_mode
from ..config.types import to_bool, to_name
from ..config.yaml import Plain, suggest
from ..errors import PlanError

AXES = ("bench", "mode", "load", "kernel", "boot")
SETTINGS: dict[str, Callable[[Any], Any]] = {
    "duration": to_run_duration,
    "settle": to_settle,
    "repeat": to_repeat,
    "sessions": to_sessions,
    "cpus": to_cpus,
    "attribution": to_attribution,
    "control": to_bool,
}
_FIELDS = {"duration": "duration_ns", "settle": "settle_ns"}  # the others are called as they are set


def is_glob(pattern: str) -> bool:
    return any(char in pattern for char in "*?[")


def match_targets(pattern: str, known: Mapping[str, Target]) -> list[str]:
    """The names that ``pattern`` (a name, a glob, ``tag:NAME``) stands for, in the order of ``known``.

    No glob matches ``local``: a campaign for ``*`` means the lab, not the machine that steers it.
    """
    if pattern.startswith("tag:"):
        return [name for name, target in known.items() if pattern[4:] in target.tags]
    if is_glob(pattern):
        return [name for name in known if name != LOCAL and fnmatch.fnmatchcase(name, pattern)]
    return [pattern] if pattern in known else []


def no_target(pattern: str, known: Mapping[str, Target]) -> str:
    """Why ``pattern`` stands for nothing."""
    if pattern.startswith("tag:"):
        tags = {tag for target in known.values() for tag in target.tags}
        return f"no target has the tag {pattern[4:]!r}{suggest(pattern[4:], tags)}"
    if is_glob(pattern):
        return f"no target matches {pattern!r}"
    return f"unknown target {pattern!r}{suggest(pattern, known)}"


def select_targets(
    patterns: Iterable[str],
    known: Mapping[str, Target],
    problem: Callable[[int, str], str] = lambda _index, what: what,
) -> list[str]:
    """All targets of ``patterns``, each once, in the order asked for; ``problem`` says where the n-th was asked for."""
    chosen: dict[str, None] = {}
    problems: list[str] = []
    for index, pattern in enumerate(patterns):
        found = match_targets(pattern, known)
        if not found:
            problems.append(problem(index, no_target(pattern, known)))
        chosen.update(dict.fromkeys(found))
    if problems:
        raise PlanError("\n".join(problems))
    return list(chosen)


def apply_sets(campaign: Campaign, sets: Sequence[str]) -> Campaign:
    """``campaign`` with each ``axis=value[,value]`` of ``sets`` in the place of what its file says."""
    fields: dict[str, Any] = {}
    axes: dict[str, Any] = {}
    problems: list[str] = []
    seen: set[str] = set()
    later: list[tuple[str, str]] = []  # parameters of benches: of those that bench= leaves
    for text in sets:
        key = text.partition("=")[0]
        try:
            values = _values(text, seen)
            if "." in key:
                later.append((key, values[0]))
            elif key in SETTINGS:
                fields[_FIELDS.get(key, key)] = SETTINGS[key](Plain(*values))
            elif key == "tune":
                fields["tune"] = tuple(to_knob(Plain(value)) for value in values)
            elif key == "bench":
                fields["benches"] = tuple(use for value in values for use in _benches(campaign, value))
            else:
                axes[key] = tuple(_axis_value(campaign.axes, key, value) for value in values)
        except ValueError as error:
            problems.append(f"--set {text}: {error}")
    for key, value in later:
        try:
            fields["benches"] = _with_param(campaign, fields.get("benches", campaign.benches), key, value)
        except ValueError as error:
            problems.append(f"--set {key}={value}: {error}")
    if axes:
        fields["axes"] = campaign.axes.model_copy(update=axes)
    changed = campaign.with_sets(fields, seen)
    if changed.repeat * changed.sessions > MAX_RUNS_PER_CELL:
        problems.append(f"--set: repeat × sessions is more than {MAX_RUNS_PER_CELL}")
    if problems:
        raise PlanError("\n".join(problems))
    return changed


def _values(text: str, seen: set[str]) -> list[str]:
    """The values of one ``--set``; its key goes into ``seen``."""
    key, sign, rest = text.partition("=")
    values = rest.split(",")
    if text == "tune=":  # none of those that the file asks for
        values = []
    if not sign or not all(values):
        raise ValueError("expected axis=value[,value]")
    known = [*AXES, *SETTINGS, "tune"]
    if key not in known and "." not in key:
        raise ValueError(f"unknown axis {key!r}{suggest(key, known)}")
    if key in seen:
        raise ValueError(f"{key} is set twice")
    seen.add(key)
    if len(set(values)) != len(values):
        raise ValueError("a value is given twice")
    if (key in SETTINGS or "." in key) and len(values) > 1:
        raise ValueError(f"{key} takes one value")
    return values


def _benches(campaign: Campaign, name: str) -> list[Any]:
    uses = [use for use in campaign.benches if use.bench == name]
    if not uses:
        known = [use.bench for use in campaign.benches]
        raise ValueError(f"{name!r} is no bench of this campaign{suggest(name, known)}")
    return uses


def _with_param(campaign: Campaign, uses: Sequence[BenchUse], key: str, text: str) -> tuple[BenchUse, ...]:
    """``uses`` with the parameter of ``bench.parameter`` changed wherever that bench is used."""
    name, _, param = key.partition(".")
    if name not in {use.bench for use in uses}:
        raise ValueError(f"{name!r} is no bench of this campaign{suggest(name, [use.bench for use in uses])}")
    bench = campaign.definitions[name]
    if param not in bench.params:
        raise ValueError(f"bench {name!r} has no parameter {param!r}{suggest(param, bench.params)}")
    value = bench.params[param].parse(Plain(text))
    return tuple(
        use.model_copy(update={"params": bench.resolve({**use.params, param: value})}) if use.bench == name else use
        for use in uses
    )


def _axis_value(axes: Axes, axis: str, name: str) -> Any:
    """A value of the campaign by its name, else one that everybody knows."""
    if axis in ("kernel", "boot"):
        return to_name(Plain(name))
    for value in getattr(axes, axis):
        if value.name == name:
            return value
    return to_mode(Plain(name)) if axis == "mode" else to_load(Plain(name))
