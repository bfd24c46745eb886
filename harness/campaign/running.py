# SPDX-License-Identifier: Apache-2.0
"""What a target runs now, as far as it was proved: kept in ``lanes/<target>.json``, so that a resumed lane knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..plan import Booted
from ..plan import Session as PlannedSession


@dataclass(frozen=True)
class Running:
    """``booted`` for the session ``index``, if anything was; ``boot_id`` is the boot's, ``proof`` what was seen."""

    booted: Booted | None = None
    index: int = 0
    boot_id: str | None = None
    proof: Mapping[str, Any] = field(default_factory=dict)

    def serves(self, session: PlannedSession) -> bool:
        """Whether this is the boot that ``session`` asks for: each session has one of its own."""
        return self.booted is not None and (self.booted, self.index) == (session.booted, session.index)

    def to_json(self) -> dict[str, Any] | None:
        if self.booted is None:
            return None
        names = {"kernel": self.booted.kernel, "boot": self.booted.boot, "session": self.index}
        return {**names, "boot_id": self.boot_id, "proof": dict(self.proof)}

    @classmethod
    def from_json(cls, found: object) -> Running:
        """What :meth:`to_json` gave; nothing is known of what does not look so."""
        if not isinstance(found, Mapping):
            return cls()
        kernel, boot, index, boot_id = (found.get(key) for key in ("kernel", "boot", "session", "boot_id"))
        if not all(isinstance(each, str) for each in (kernel, boot, boot_id)) or not isinstance(index, int):
            return cls()
        proof = found.get("proof")
        return cls(Booted(str(kernel), str(boot)), index, str(boot_id), proof if isinstance(proof, Mapping) else {})
