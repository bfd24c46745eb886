# SPDX-License-Identifier: Apache-2.0
"""Names and numbers as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plan import Plan


def plural(count: int, word: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def bench_titles(plan: Plan) -> dict[str, str]:
    """By cell id what is measured: the bench, with the parameters that are not its defaults."""
    from ..stats.variants import titles, variant_of_cell

    variants = {cell.id: variant_of_cell(cell.to_json()) for cell in plan.cells}
    benches = {name: bench.model_dump(mode="json", exclude_none=True) for name, bench in plan.benches.items()}
    named = titles(variants.values(), benches)
    return {cell: named[variant] for cell, variant in variants.items()}
