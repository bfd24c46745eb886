# SPDX-License-Identifier: Apache-2.0
"""What is measured, by name: a bench with the parameters, times, kernel, boot and attribution that set it apart. Pure.

Runs that were asked with another threshold count other gaps, and what looks for causes disturbs: they are never in one
table, nor under one name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..store.runs import Run
from .numbers import number_of

#: Where nothing is said, what is booted (see harness/config/kernels.py, which this room does not know), and that nobody
#: looks for causes.
_DEFAULTS = {"kernel": "default", "boot": "plain", "attribution": "off"}
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"))


@dataclass(frozen=True, order=True)
class Variant:
    """``params``: all of the probe's, as asked, sorted by name. Times in ns; ``None`` where an old file has none."""

    bench: str
    params: tuple[tuple[str, str], ...] = ()
    duration_ns: int | None = None
    settle_ns: int | None = None
    kernel: str = _DEFAULTS["kernel"]
    boot: str = _DEFAULTS["boot"]
    attribution: str = _DEFAULTS["attribution"]


def variant_of(
    bench: str,
    params: object,
    duration_ns: object,
    settle_ns: object,
    kernel: object = None,
    boot: object = None,
    attribution: object = None,
) -> Variant:
    """``kernel`` and ``boot`` by name; None, as of old files, is what a machine boots by itself, and no attribution."""
    known = params if isinstance(params, Mapping) else {}
    return Variant(
        bench,
        tuple(sorted((str(name), _plain(value)) for name, value in known.items())),
        duration_ns if isinstance(duration_ns, int) else None,
        settle_ns if isinstance(settle_ns, int) else None,
        str(kernel or _DEFAULTS["kernel"]),
        str(boot or _DEFAULTS["boot"]),
        str(attribution or _DEFAULTS["attribution"]),
    )


def variant_of_run(run: Run) -> Variant:
    spec = run.document["spec"]
    probe = spec.get("probe")
    params = probe.get("params") if isinstance(probe, Mapping) else None
    bench = spec.get("bench")
    rest = (run.document.get("kernel"), run.document.get("boot"), spec.get("attribution"))
    return variant_of(str(bench), params, spec.get("duration_ns"), spec.get("settle_ns"), *rest)


def variant_of_cell(cell: Mapping[str, Any]) -> Variant:
    """Of a cell of a ``plan.json``."""
    rest = (cell.get(key) for key in ("duration_ns", "settle_ns", "kernel", "boot", "attribution"))
    return variant_of(str(cell.get("bench")), cell.get("params"), *rest)


def titles(variants: Iterable[Variant], benches: Mapping[str, Any]) -> dict[Variant, str]:
    """A name for each: ``gap``, ``gap threshold=5us``, ``gap duration=10s``, ``gap kernel=next boot=quiet``,
    ``gap attribution=perf``.

    Named are parameters that are not the bench's default (``benches`` is a plan's), and whatever differs between the
    variants of a bench.
    """
    groups: dict[str, list[Variant]] = defaultdict(list)
    for variant in dict.fromkeys(variants):
        groups[variant.bench].append(variant)
    found = {}
    for bench, own in groups.items():
        defaults = _defaults(benches.get(bench))
        differing = _differing([dict(variant.params) for variant in own])
        durations, settles = ({getattr(each, key) for each in own} for key in ("duration_ns", "settle_ns"))
        for variant in own:
            # Beside its own default, a variant is the bench as such: "gap" and "gap threshold=5us".
            parts = [
                f"{name}={value}"
                for name, value in variant.params
                if (value != defaults[name] if name in defaults else name in differing)
            ]
            if len(durations) > 1 and variant.duration_ns is not None:
                parts.append(f"duration={_plain(f'{variant.duration_ns}ns')}")
            if len(settles) > 1 and variant.settle_ns is not None:
                parts.append(f"settle={_plain(f'{variant.settle_ns}ns')}")
            parts += [
                f"{key}={name}" for key, default in _DEFAULTS.items() if (name := getattr(variant, key)) != default
            ]
            found[variant] = " ".join([bench, *parts])
    return found


def parameters(params: object) -> str:
    """All of them in one line, durations in the largest unit that is exact: ``digits=2 ring=65536 threshold=5us``."""
    return " ".join(f"{name}={value}" for name, value in variant_of("", params, None, None).params)


def _defaults(bench: object) -> dict[str, str]:
    params = bench.get("params") if isinstance(bench, Mapping) else None
    return {
        str(name): _plain(about["default"])
        for name, about in (params.items() if isinstance(params, Mapping) else ())
        if isinstance(about, Mapping) and "default" in about
    }


def _differing(params: list[dict[str, str]]) -> set[str]:
    names = {name for each in params for name in each}
    return {name for name in names if len({each.get(name) for each in params}) > 1}


def _plain(value: object) -> str:
    """``1000ns``, ``1us`` and ``0.001ms`` are one value: ``1us``. What is no duration stays as it is."""
    text = str(value)
    ns = number_of(text)
    if not text[-1:].isalpha() or ns is None or ns != int(ns):
        return text
    whole = int(ns)
    return next((f"{whole // size}{unit}" for size, unit in _UNITS if whole and whole % size == 0), f"{whole}ns")
