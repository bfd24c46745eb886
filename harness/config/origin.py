# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a campaign were written, for what only shows when it meets the inventory."""

from __future__ import annotations

from dataclasses import dataclass

from .yaml import Document, Loc, path_text

#: The keys that ``--set`` speaks of by another name.
_KEYS = {"bench": ("benches",), **{axis: ("axes", axis) for axis in ("kernel", "boot", "mode", "load")}}


@dataclass(frozen=True, eq=False)
class Origin:
    """The file of a campaign, if it has one, and the keys for which ``--set`` stands in its place.

    It is no part of what a campaign asks for: all of them are equal.
    """

    document: Document | None = None
    sets: frozenset[str] = frozenset()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)

    def problem(self, loc: Loc, what: str) -> str:
        """``file:line:column: path: what``; ``--set key: what`` for what the command line asked for."""
        for key in self.sets:
            way = _KEYS.get(key, (key,))
            if loc[: len(way)] == way:
                return f"--set {key}: {what}"
        if self.document is None:
            return f"{path_text(loc)}: {what}"
        return self.document.problem(self.document.nearest(loc), what)
