# SPDX-License-Identifier: Apache-2.0
"""What `run` and `plan` share: from the command's words to a plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config.campaign import find_campaign, load_campaign
from ..config.inventory import Inventory, load_inventory
from ..plan import Plan, build_plan
from .options import inventory_path


def read_plan(
    campaign: str, inventory: Path | None, targets: Sequence[str], sets: Sequence[str], *, compile_all: bool = False
) -> tuple[Inventory, Plan]:
    """The inventory and the plan. Raises ConfigError or PlanError; the errors of all files at once.

    ``compile_all``: as for :func:`~harness.campaign.benches.check_benches`.
    """
    from ..campaign.benches import check_benches
    from ..errors import ConfigError

    problems: list[str] = []
    loaded = None
    try:
        path = find_campaign(campaign)
        loaded = load_campaign(path)
        check_benches(loaded, path, compile_all=compile_all)
    except ConfigError as error:
        problems += error.problems
    try:
        known = load_inventory(inventory_path(inventory))
    except ConfigError as error:
        problems += error.problems
    if problems or loaded is None:
        raise ConfigError(problems)
    return known, build_plan(loaded, known, sets=sets, targets=targets)
