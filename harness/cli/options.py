# SPDX-License-Identifier: Apache-2.0
"""The options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from . import complete

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_INVENTORY = Path("inventory/lab.yaml")


def inventory(function: F) -> F:
    return click.option(
        "--inventory",
        "-i",
        type=click.Path(path_type=Path),
        envvar="ISOLBENCH_INVENTORY",
        help=f"The targets. [default: {DEFAULT_INVENTORY}, where it exists; `local` is always there]",
    )(function)


def results(function: F) -> F:
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("results"),
        show_default=True,
        envvar="ISOLBENCH_RESULTS",
        help="Where executions are kept.",
    )(function)


def targets(function: F) -> F:
    return click.option(
        "--target",
        "-t",
        "target_names",
        multiple=True,
        metavar="NAME",
        shell_complete=complete.targets,
        help="Instead of the campaign's targets: a name, a glob, or tag:NAME. Repeatable.",
    )(function)


def sets(function: F) -> F:
    return click.option(
        "--set",
        "-s",
        "sets",
        multiple=True,
        shell_complete=complete.sets,
        metavar="KEY=VALUE[,VALUE]",
        help="Narrow bench, mode, load, kernel or boot; set tune (`tune=` for none), duration, settle, repeat, "
        "sessions, cpus, control or attribution; or a parameter of a bench: gap.threshold=5us. Repeatable.",
    )(function)


def kernels(function: F) -> F:
    return click.option(
        "--kernel",
        "-k",
        "kernels",
        multiple=True,
        metavar="NAME=PATH",
        shell_complete=complete.kernels,
        help="Take this kernel's files from PATH: a package, a tar file, an image, or a folder of one. Repeatable.",
    )(function)


def lanes(function: F) -> F:
    return click.option(
        "--lane",
        "lanes",
        multiple=True,
        metavar="TARGET",
        shell_complete=complete.lanes,
        help="Only this target's share. Repeatable.",
    )(function)


def as_json(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout, for machines.")(function)


def inventory_path(given: Path | None) -> Path | None:
    """The inventory to read: what was asked for, else the default one where it exists, else none."""
    if given is not None:
        return given
    return DEFAULT_INVENTORY if DEFAULT_INVENTORY.exists() else None
