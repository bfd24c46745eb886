# SPDX-License-Identifier: Apache-2.0
"""An execution: one carrying-out of a campaign, and the folder that is its whole truth.

Done is a folder in ``runs/``, failed is an attempt, and what remains is the plan less those.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import __version__
from ..config.inventory import LOCAL, Inventory, Target, load_inventory
from ..errors import Busy, UserError
from ..plan import Plan
from ..store.files import TMP_PREFIX, BrokenResult, read_document, storage_errors, to_bytes, write_file
from .references import executions as executions
from .references import find as find

#: Of plan.json and lanes/<target>.json. History: 1 first.
SCHEMA = 1
#: `status` holds a lane's lock for the instant in which it looks: a start at that instant must not fail.
_LOCK_PATIENCE_S = 0.5


class Stop:
    """Asks all lanes to stop: after the run that is under way, or ``at_once``. ``reason`` is for people, the first."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason: str | None = None
        self.at_once = False

    def set(self, reason: str, *, at_once: bool) -> None:
        self.reason = self.reason or reason
        self.at_once = self.at_once or at_once
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


@dataclass(frozen=True)
class Execution:
    """``path`` is the folder; ``id`` its start in UTC; ``nonce`` tells it from one of the same second elsewhere."""

    path: Path
    plan: Plan
    id: str
    nonce: str
    inventory_file: Path | None

    @property
    def campaign(self) -> str:
        return self.plan.campaign.name

    def owner(self, target: str) -> str:
        """The id under which a lane leases its target: the same after a crash, so that it may go on."""
        return f"{self.campaign}/{self.id}-{self.nonce}/{target}"

    def lane_of(self, owner: str | None) -> str | None:
        """The target whose lane leases as ``owner``; None if that is nobody of this execution."""
        return next((target for target in self.plan.targets if self.owner(target) == owner), None)

    @property
    def spool(self) -> str:
        """The execution's name on targets."""
        return f"{self.campaign}-{self.id}-{self.nonce}"

    def inventory(self) -> Inventory:
        return load_inventory(self.inventory_file)

    @cached_property
    def run_names(self) -> dict[str, frozenset[str]]:
        """By target, the names of all runs that the plan asks for."""
        each = self.plan.repeat * self.plan.sessions
        return {
            target: frozenset(f"{cell.id}-r{n}" for cell in self.plan.cells_of(target) for n in range(1, each + 1))
            for target in self.plan.targets
        }

    def finished(self, target: str) -> set[str]:
        """The names of the runs of ``target`` that are done."""
        return _entries(self.path / "runs" / target, "run.json")

    def attempts(self, target: str) -> set[str]:
        """The names of the failed attempts: ``<run>-a<n>``."""
        return _entries(self.path / "attempts" / target, "attempt.json")

    def lane(self, target: str) -> dict[str, Any]:
        """``lanes/<target>.json``: what the last contact found; empty before there was one, or when it is damaged."""
        try:
            return read_document(self.path / "lanes" / f"{target}.json", SCHEMA)
        except BrokenResult:
            return {}

    def write_lane(self, target: str, document: Mapping[str, Any]) -> None:
        folder = self.path / "lanes"
        with storage_errors(folder):
            folder.mkdir(exist_ok=True)
        write_file(folder / f"{target}.json", to_bytes({"schema": SCHEMA, "target": target, **document}))

    @contextmanager
    def locked(self, target: str) -> Iterator[None]:
        """One process at a time carries out a lane; :class:`Busy` for the second. The lock dies with its process."""
        folder = self.path / "lanes"
        with storage_errors(folder):
            folder.mkdir(exist_ok=True)
            descriptor = os.open(folder / f".{target}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _lock(descriptor, patience_s=_LOCK_PATIENCE_S):
                raise Busy(
                    f"this lane of {self.campaign}/{self.id} is being carried out by another process",
                    advice=f"see how far it is: isolbench status {self.campaign}/{self.id}",
                )
            yield
        finally:
            os.close(descriptor)

    def is_locked(self, target: str) -> bool:
        """Whether some process carries the lane out now."""
        try:
            descriptor = os.open(self.path / "lanes" / f".{target}.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _lock(descriptor)
        finally:
            os.close(descriptor)


def target_of(inventory: Inventory, name: str) -> Target:
    """The target, as the inventory has it now; :class:`UserError` if it is gone or disabled."""
    target = inventory.targets.get(name)
    if target is None:
        where = inventory.path or "the inventory (only `local` without one)"
        raise UserError(f"{name}: no such target in {where}", advice="name the inventory by --inventory")
    if target.disabled is not None:
        raise UserError(f"{name}: disabled in the inventory: {target.disabled}")
    return target


def create(plan: Plan, results: Path, inventory_file: Path | None) -> Execution:
    """A new execution under ``results``, with its ``plan.json``. Two of one second wait for each other."""
    if inventory_file is None and plan.targets != (LOCAL,):
        raise UserError("only `local` can be measured without an inventory")
    campaign = results / plan.campaign.name
    with storage_errors(campaign):
        campaign.mkdir(parents=True, exist_ok=True)
        while True:
            started = datetime.now(UTC)
            path = campaign / started.strftime("%Y%m%dT%H%M%SZ")
            try:
                path.mkdir()
                break
            except FileExistsError:
                time.sleep(0.1)
    nonce = secrets.token_hex(4)
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "execution": path.name,
        "nonce": nonce,
        "started": started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "inventory_file": None if inventory_file is None else str(inventory_file.absolute()),
        **plan.to_json(),
    }
    try:
        write_file(path / "plan.json", to_bytes(document))
    except BaseException:
        with suppress(OSError):
            path.rmdir()  # an execution without a plan is none
        raise
    return Execution(path, plan, path.name, nonce, inventory_file)


def load(path: Path) -> Execution:
    """The execution in the folder ``path``. Raises UserError or ConfigError, naming the file."""
    try:
        document = read_document(path / "plan.json", SCHEMA)
    except BrokenResult as error:
        raise UserError(f"{error}: this execution cannot be continued") from error
    plan = Plan.from_json(document, str(path / "plan.json"))
    inventory = document.get("inventory_file")
    return Execution(
        path,
        plan,
        str(document.get("execution", path.name)),
        str(document.get("nonce", "")),
        None if inventory is None else Path(inventory),
    )


def _entries(folder: Path, marker: str) -> set[str]:
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(TMP_PREFIX)]
    except FileNotFoundError:
        return set()
    return {name for name in names if (folder / name / marker).exists()}


def _lock(descriptor: int, patience_s: float = 0.0) -> bool:
    """Lock the open file for this process; False if another one has it, and keeps it for ``patience_s``."""
    end_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end_s:
                return False
        time.sleep(0.05)
