# SPDX-License-Identifier: Apache-2.0
"""Bench files held to what their probes say of themselves, before any target is asked.

A probe describes itself (``--describe``); the binary for this machine is asked, never one for another: that would have
to be emulated. A bench that asks for an option the probe does not have would fail run by run, and a metric that it does
not report would be missing without a word, the gate with it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..build import build_probe, cached_probe, native_arch, probes
from ..config.bench import Bench, Param, find_bench
from ..config.campaign import Campaign
from ..config.data import data_dir
from ..config.yaml import Loc, load, suggest
from ..errors import BuildError, ConfigError

#: It prints a page and exits.
_ANSWER_S = 10

Described = Mapping[str, Any]


def check_benches(campaign: Campaign, beside: Path, *, compile_all: bool) -> None:
    """Raise ConfigError for what the benches of ``campaign``, whose file is ``beside``, say of their probes wrongly.

    ``compile_all``: build every probe for this machine; else those of bench files that are not shipped, and of the
    others only what is built already is asked. A probe that cannot be built here is taken at its bench's word.
    """
    problems: list[str] = []
    shipped = data_dir("benches").resolve()
    for name, bench in campaign.definitions.items():
        path = find_bench(name, beside=beside)
        if path is None:  # gone since the campaign was read
            continue
        document = load(path)
        if bench.probe not in probes():
            what = f"there is no probe {bench.probe!r}{suggest(bench.probe, probes())}"
            problems.append(document.problem(("probe",), what))
            continue
        described = describe(bench.probe, compile_it=compile_all or path.resolve().parent != shipped)
        if described is None:
            continue
        problems += [document.problem(loc, what, key=key) for loc, what, key in wrong_in(bench, described)]
        for index, use in enumerate(campaign.benches):
            if use.bench == name:
                refused = {key: _refused(described, key, value) for key, value in use.params.items()}
                problems += [
                    campaign.problem(("benches", index, "params", key), why) for key, why in refused.items() if why
                ]
    if problems:
        raise ConfigError(problems)


def describe(probe: str, *, compile_it: bool) -> Described | None:
    """What ``probe`` says of itself; None where it is not built for this machine, or cannot be."""
    try:
        built = build_probe(probe, native_arch()) if compile_it else cached_probe(probe, native_arch())
        if built is None:
            return None
        done = subprocess.run([built.path, "--describe"], capture_output=True, timeout=_ANSWER_S, check=True)
        said = json.loads(done.stdout)
    except (BuildError, OSError, subprocess.SubprocessError, ValueError):
        return None  # whoever has to build or start it for a target will say why that is not possible
    return said if isinstance(said, dict) else None


def wrong_in(bench: Bench, described: Described) -> Iterator[tuple[Loc, str, bool]]:
    """(path, what, whether it is about the key) for all that ``bench`` says of its probe and that is not so."""
    probe = f"the probe {bench.probe!r}"
    params, metrics = described["params"], described["metrics"]
    for name, param in bench.params.items():
        if name not in params:
            yield ("params", name), f"{probe} has no option --{name}{suggest(name, params)}", True
        elif param.type != params[name]["type"]:
            yield ("params", name, "type"), f"{probe} takes {_article(params[name]['type'])} here", False
        elif what := _refused(described, name, param.default):
            yield ("params", name, "default"), what, False
    for name, metric in bench.metrics.items():
        if name not in metrics:
            yield ("metrics", name), f"{probe} reports no metric {name!r}{suggest(name, metrics)}", True
        elif metrics[name]["kind"] == "histogram" and metric.gate is None:
            yield ("metrics", name), f"{probe} reports a histogram here: say its gate, such as p99.99", False
        elif metrics[name]["kind"] != "histogram" and metric.gate is not None:
            yield ("metrics", name, "gate"), f"{probe} reports one number here: it has no quantiles", False
    if bench.helper != described["helper"]:
        wanted = described["helper"]
        yield ("helper",), f"{probe} {f'needs helper: {wanted}' if wanted else 'has no helper'}", False


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "int" else f"a {kind}"


def _refused(described: Described, name: str, value: Any) -> str | None:
    """Why the probe does not take ``value`` for its option ``name``; None if it does, or has no such option."""
    about = described["params"].get(name)
    if about is None:
        return None
    try:
        Param.model_validate({key: about.get(key) for key in ("type", "default", "min", "max", "choices")}).parse(value)
    except ValidationError:
        return None  # a description that we do not understand
    except ValueError as error:
        return f"the probe takes no such value: {error}"
    return None
