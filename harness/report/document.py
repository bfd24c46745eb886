# SPDX-License-Identifier: Apache-2.0
"""An execution's view as one JSON document: the numbers of the terminal's tables, for machines. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ..stats.causes import Causes
from ..stats.quantiles import Spread
from .kernel_view import BootedView
from .view import STATES, CpuView, ModeView, Section, TargetView, View


def document(view: View) -> dict[str, Any]:
    """Times in ns unless a key says otherwise; what is not known is ``None``."""
    return {
        "campaign": view.campaign,
        "execution": view.execution,
        "path": str(view.path),
        "started": view.started or None,
        "version": view.version or None,
        "planned": view.planned,
        "finished": view.finished,
        "states": {state: view.states.get(state, 0) for state in STATES},
        "targets": [_target(target) for target in view.targets],
        "disabled": dict(view.disabled),
        "budgets": [asdict(verdict) for verdict in view.budgets],
        "warnings": list(view.warnings),
    }


def _target(target: TargetView) -> dict[str, Any]:
    return {
        "target": target.name,
        "virtual": target.virtual,
        "failure": None if target.failure is None else asdict(target.failure),
        "notes": list(target.notes),
        "kernels": [asdict(kernel) for kernel in target.kernels],
        "boots": [_booted(booted) for booted in target.booted],
        "cells": [
            cell_document(section, mode) for section in (*target.sections, *target.controls) for mode in section.modes
        ],
        "unsupported": [asdict(each) for each in target.unsupported],
        "attempts": [asdict(each) for each in target.attempts],
    }


def _booted(booted: BootedView) -> dict[str, Any]:
    kernel, boot = booted.booted
    return {
        "kernel": kernel,
        "boot": boot,
        "cmdline": booted.cmdline or None,
        "added": list(booted.added),
        "removed": list(booted.removed),
        "sessions": booted.sessions,
        "proved": booted.boots,
        "took_s": list(booted.took_s),
        "failures": [asdict(each) for each in booted.failures],
    }


def cell_document(section: Section, mode: ModeView) -> dict[str, Any]:
    """``role`` tells a control, which ran beside the measured task, from the measured task itself."""
    units = {scalar.metric: scalar.unit for scalar in section.scalars}
    return {
        "cell": mode.cell,
        "bench": section.bench,
        "title": section.title,
        "mode": mode.name,
        "load": section.load,
        "kernel": section.booted[0],
        "boot": section.booted[1],
        "role": section.role,
        "metric": section.metric,
        "unit": section.unit,
        "gate": section.gate,
        "duration_ns": section.duration_ns,
        "settle_ns": section.settle_ns,
        "planned": mode.planned,
        "runs": {**{state: mode.number(state) for state in STATES}, "failed": mode.failed},
        "basis": mode.basis,
        **_numbers(mode),
        "cpus": [{"cpu": each.cpu, **_numbers(each)} for each in mode.cpus],
        "scalars": {name: {**_spread(each), "unit": units.get(name)} for name, each in mode.scalars.items()},
        "events": section.events
        and {
            "name": section.events,
            "threshold_ns": section.threshold_ns,
            "count": mode.events,
            "rate_hz": None if mode.rate is None else _spread(mode.rate),
            "rate_upper_hz": mode.rate_upper_hz,
        },
        "periods": mode.periods,
        "missed": mode.missed,
        "left_out": mode.left_out,
        "observed_s": mode.observed_s,
        "reasons": [asdict(each) for each in mode.reasons],
        "causes": None if mode.causes is None else _causes(mode.causes),
    }


def _causes(causes: Causes) -> dict[str, Any]:
    """Of the same runs. Shares of the stolen time from 0 to 1; the buckets are in each run.json."""
    return {
        **{key: getattr(causes, key) for key in ("level", "levels", "reasons", "observed_s", "stolen_ns", "count")},
        "conserved": causes.conserved,
        "wrong": [asdict(each) for each in causes.wrong],
        "lost": asdict(causes.lost),
        "instruments": None if causes.instruments is None else asdict(causes.instruments),
        "steal_ns": causes.steal_ns,
        "classes": {name: asdict(each) for name, each in causes.classes.items()},
        "rows": [
            {
                "class": row.class_,
                **{key: getattr(row, key) for key in ("entry", "cause", "irq", "count", "stolen_ns", "max_ns")},
                "share": causes.share(row.stolen_ns),
                "per_s": None if row.per_s is None else _spread(row.per_s),
            }
            for row in causes.rows
        ],
    }


def _numbers(of: ModeView | CpuView) -> dict[str, Any]:
    return {
        "quantiles": {
            each.name: None if each.spread is None else {**_spread(each.spread), "enough": each.enough}
            for each in of.quantiles
        },
        "max": None if of.maximum is None else _spread(of.maximum),
    }


def _spread(spread: Spread) -> dict[str, float | int | None]:
    """A quantile that lies among missed periods is more than any number: ``None``."""
    numbers = {"median": spread.median, "low": spread.low, "high": spread.high}
    return {**{key: None if value == math.inf else value for key, value in numbers.items()}, "runs": spread.runs}
