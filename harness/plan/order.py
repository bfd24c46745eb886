# SPDX-License-Identifier: Apache-2.0
"""The order of runs: balanced, so that slow drift cancels, and the same for the same seed.

Rounds come in pairs: a permutation of the cells, then the same one backwards (ABBA). Whatever drifts linearly over the
pair adds the same to every cell. Pairs run on over the sessions, so sessions of a single round are balanced too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .cells import Booted, Cell


@dataclass(frozen=True, slots=True)
class Session:
    """The runs between two boots: ``index`` counts from 1; ``runs`` are (cell, repeat) in the order of running.

    ``repeat`` counts from 1 over the whole execution. ``booted`` is what is booted for them, the same for all; each of
    a campaign's kernels and boot profiles has a session of each index. Of one that boots nothing it is None.
    """

    index: int
    runs: tuple[tuple[Cell, int], ...]
    booted: Booted | None = None


def sessions_of(cells: Sequence[Cell], repeat: int, sessions: int, seed: str, *, boots: bool) -> list[Session]:
    """The sessions of one target in the order of running: :func:`order`; where it ``boots``, each with a boot.

    Those are interleaved: all that is booted once, in an order drawn for the pair, and once more backwards (ABBA).
    """
    if not boots:
        return order(cells, repeat, sessions, seed)
    by_boot: dict[Booted, list[Cell]] = {}
    for cell in cells:
        by_boot.setdefault(cell.booted, []).append(cell)
    ordered = {booted: order(of_it, repeat, sessions, seed) for booted, of_it in by_boot.items()}
    found: list[Session] = []
    for number in range(sessions):
        pair, backwards = divmod(number, 2)
        forward = sorted(by_boot, key=lambda booted: _rank(seed, pair, f"{booted.kernel}\0{booted.boot}"))
        turn = reversed(forward) if backwards else forward
        found += [replace(ordered[booted][number], booted=booted) for booted in turn]
    return found


def order(cells: Sequence[Cell], repeat: int, sessions: int, seed: str) -> list[Session]:
    """``sessions`` sessions with each of ``cells`` ``repeat`` times. ``seed``: the execution's id.

    A cell's place depends on its id, the seed and the round alone: not on the order of ``cells``, and for two cells not
    on what else is there, so that a resumed rest keeps the order it had.
    """
    found: list[Session] = []
    forward: list[Cell] = []
    for session in range(sessions):
        runs: list[tuple[Cell, int]] = []
        for within in range(repeat):
            number = session * repeat + within
            pair, backwards = divmod(number, 2)
            if not backwards:
                forward = sorted(cells, key=lambda cell: _rank(seed, pair, cell.id))
            runs += [(cell, number + 1) for cell in (reversed(forward) if backwards else forward)]
        found.append(Session(session + 1, tuple(runs)))
    return found


def _rank(seed: str, pair: int, cell: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{pair}\0{cell}".encode()).digest()
