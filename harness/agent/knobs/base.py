# SPDX-License-Identifier: Apache-2.0
"""What every knob is: one object that shows, sets, verifies and restores one setting of the machine, and explains it.

A knob is best effort: what could not be put into effect is recorded with its errno and never fails a run by itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Sequence

from ..system import Tree, errno_name
from ..undo import Undo


@dataclass(frozen=True)
class Outcome:
    """``effective`` is what was read back, in the same form as ``requested``; they are equal when it worked.

    ``needed`` is False where this kernel has nothing to set: then it is no loss either. ``detail`` has the parts of a
    knob of many (the IRQs that stayed).
    """

    name: str
    requested: Any
    before: Any
    effective: Any
    errno: str | None = None
    reason: str | None = None
    needed: bool = True
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.needed or self.effective == self.requested

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


class Knob(Protocol):
    """One setting. ``tree`` is where its files are: tests give an invented one."""

    name: str

    def show(self) -> dict[str, Any]:
        """``{"available", "value", "reason"}``; reads only."""

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:
        """Write down what is there, then change it and read it back. Never raises for what the machine refuses."""

    def verify(self, outcome: Outcome) -> str | None:
        """What is no longer as :meth:`set` left it, or None."""

    def restore(self) -> None:
        """Undo what lives in this process; files are put back by playing the undo."""

    def advise(self, outcome: Outcome) -> str | None:
        """What would put it into effect, or None when it is."""


class FileKnob:
    """A knob that is one value in one file."""

    name = ""
    path = ""
    value = ""
    remedy = ""

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()

    def unavailable(self) -> tuple[str, bool]:
        """Why the file cannot be read, and whether that is a loss."""
        return f"{self.path} cannot be read", True

    def show(self) -> dict[str, Any]:
        value = self.tree.read(self.path)
        reason = self.unavailable()[0] if value is None else None
        return {"available": value is not None, "value": value, "reason": reason}

    def set(
        self,
        measured: Sequence[int],  # noqa: ARG002 (the protocol's)
        housekeeping: Sequence[int],  # noqa: ARG002 (the protocol's)
        undo: Undo,
    ) -> Outcome:
        try:
            before = undo.record_file(self.name, self.path)
        except OSError as error:
            return Outcome(self.name, self.value, None, None, errno_name(error.errno or 0), "undo cannot be written")
        if before is None:
            reason, needed = self.unavailable()
            return Outcome(self.name, self.value, None, None, None, reason, needed)
        number = self.tree.write(self.path, self.value)
        effective = self.tree.read(self.path)
        why = None if effective == self.value else f"{self.path} reads {effective!r} after it was written"
        return Outcome(self.name, self.value, before, effective, errno_name(number) if number else None, why)

    def verify(self, outcome: Outcome) -> str | None:
        now = self.tree.read(self.path)
        return None if now == outcome.effective else f"{self.path} was changed to {now!r} meanwhile"

    def restore(self) -> None:
        return

    def advise(self, outcome: Outcome) -> str | None:
        return None if outcome.ok else self.remedy
