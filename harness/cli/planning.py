# SPDX-License-Identifier: Apache-2.0
"""What `run` and `plan` share: from the command's words to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config.campaign import find_campaign, load_campaign
from ..config.inventory import load_inventory
from ..plan import Plan, build_plan
from .options import inventory_path


def read_plan(
    campaign: str, inventory: Path | None, targets: Sequence[str], sets: Sequence[str]
) -> tuple[Path | None, Plan]:
    """The inventory's path and the plan. Raises ConfigError or PlanError; the errors of both files at once."""
    from ..errors import ConfigError

    path = inventory_path(inventory)
    problems: list[str] = []
    loaded = None
    try:
        loaded = load_campaign(find_campaign(campaign))
    except ConfigError as error:
        problems += error.problems
    try:
        known = load_inventory(path)
    except ConfigError as error:
        problems += error.problems
    if problems or loaded is None:
        raise ConfigError(problems)
    return path, build_plan(loaded, known, sets=sets, targets=targets)
