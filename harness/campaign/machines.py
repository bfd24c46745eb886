# SPDX-License-Identifier: Apache-2.0
"""Which machine stands behind each name: two names of one machine would be measured at once, and disturb each other.

The proof is the boot id: who shows the same one runs on the same kernel (also containers on one host do, and `local`
beside an SSH way to this machine). Where a reboot lies between two contacts, the hardware says it: a serial number or a
UUID together with a network address. The machine-id proves nothing: cloned disks share it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UserError
from .execution import Execution

Facts = Mapping[str, Any]


class OneMachine(UserError):
    """Two names of the inventory lead to one machine."""

    def __init__(self, name: str, other: str, why: str) -> None:
        super().__init__(
            f"{other} and {name} are two names of one machine ({why})",
            advice="measure it under one of them: correct the address of the other, or leave it out of the campaign",
        )


class Machines:
    """Who was met in this carrying-out, or has runs from an earlier one. For all lanes' threads."""

    def __init__(self, execution: Execution) -> None:
        self._lock = threading.Lock()
        known = {name: execution.lane(name).get("facts") for name in execution.plan.targets if execution.finished(name)}
        self._met: dict[str, Facts] = {name: facts for name, facts in known.items() if isinstance(facts, Mapping)}

    def claim(self, name: str, facts: Facts) -> None:
        """``name`` was met, and is the machine of ``facts``; :class:`OneMachine` if another name was that before."""
        with self._lock:
            for other, theirs in self._met.items():
                if other != name and (why := one_machine(theirs, facts)):
                    raise OneMachine(name, other, why)
            self._met[name] = facts


def one_machine(one: Facts, other: Facts) -> str | None:
    """Why these facts are of one machine, met twice; None if they are not, or it cannot be told."""
    serials, uuids = (_both(one, other, key) for key in ("serial", "uuid"))
    if any(each is not None and each[0] != each[1] for each in (serials, uuids)):
        return None  # virtual machines that woke from one snapshot: their boot ids are equal
    boots = _both(one, other, "boot_id")
    if boots is not None and boots[0] == boots[1]:
        return f"boot id {boots[0]}"
    addresses = set(_texts(one.get("macs"))) & set(_texts(other.get("macs")))
    named = f"serial {serials[0]}" if serials else f"UUID {uuids[0]}" if uuids else None
    return f"{named}, {min(addresses)}" if named and addresses else None


def cloned(one: Facts, other: Facts) -> bool:
    """Whether these are two machines of one machine-id: the disk of one is a copy of the other's."""
    ids = _both(one, other, "machine_id")
    same = ids is not None and ids[0] == ids[1] != "uninitialized"
    return same and one_machine(one, other) is None


def _both(one: Facts, other: Facts, key: str) -> tuple[str, str] | None:
    """What both say; None where one of them does not."""
    mine, theirs = one.get(key), other.get(key)
    return (mine, theirs) if isinstance(mine, str) and isinstance(theirs, str) and mine and theirs else None


def _texts(value: object) -> Iterable[str]:
    return (each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
