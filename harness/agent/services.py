# SPDX-License-Identifier: Apache-2.0
"""Services that undo settings, change clocks or start work under a measurement; and systemd, which runs them.

This is the one list: the knob ``services`` stops its units, and a process of its names makes a run suspect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Sequence

from .processes import pids
from .system import Tree

#: Daemons: the unit, and the name of its process as the kernel keeps it: its first 15 characters.
DAEMONS: Mapping[str, str] = {
    "irqbalance.service": "irqbalance",  # the affinity of interrupts
    "tuned.service": "tuned",  # sysctls, governor, affinities
    "tuned-ppd.service": "tuned-ppd",
    "thermald.service": "thermald",  # frequency limits
    "power-profiles-daemon.service": "power-profiles-",  # governor, turbo
    "auto-cpufreq.service": "auto-cpufreq",
    "cpuspeed.service": "cpuspeed",
    "numad.service": "numad",  # affinities, pages
    "ksmtuned.service": "ksmtuned",  # KSM
    "ananicy-cpp.service": "ananicy-cpp",  # priorities
}
#: Timers whose services read disks, compile, or replace programs.
TIMERS: tuple[str, ...] = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dnf-makecache.timer",
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "fwupd-refresh.timer",
    "logrotate.timer",
    "man-db.timer",
    "mlocate-updatedb.timer",
    "plocate-updatedb.timer",
    "raid-check.timer",
    "sysstat-collect.timer",
    "systemd-tmpfiles-clean.timer",
    "updatedb.timer",
)
#: Processes without a unit that could be stopped: one is run by hand, the other by apt-daily-upgrade.timer.
_STRAYS = ("powertop", "unattended-upgr")
#: With unattended-upgrades installed this one always runs. It waits for the shutdown, and does nothing before.
_WAITING = b"unattended-upgrade-shutdown"

_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,120}\.(?:service|timer)")
_SYSTEMCTL = ("/usr/bin/systemctl", "/bin/systemctl", "/run/current-system/sw/bin/systemctl")
#: An emulated board with other work takes seconds to start systemctl itself.
_ASK_S = 15.0
#: Longer than tuned takes to put back its profile. A service that takes longer is told, and looked at again.
_ACT_S = 20.0


def running(tree: Tree) -> list[str]:
    """The process names of the meddlers at work. One pass over /proc, no fork."""
    names = {*DAEMONS.values(), *_STRAYS}
    found = set()
    for pid in pids(tree):
        name = tree.read(f"/proc/{pid}/comm")
        if name in names and _WAITING not in (tree.read_bytes(f"/proc/{pid}/cmdline") or b""):
            found.add(name)
    return sorted(found)


def remedy(names: Iterable[str]) -> str:
    """What to do about processes of these names."""
    units = {process: unit for unit, process in DAEMONS.items()}
    stop = [units[name] for name in names if name in units]
    parts = [f"tune: [services], or systemctl stop {' '.join(stop)}"] if stop else []
    if "powertop" in names:
        parts.append("end powertop")
    if "unattended-upgr" in names:
        parts.append("let the upgrade finish, and tune: [services]")
    return "; ".join(parts)


@dataclass(frozen=True)
class Unit:
    """As systemd says: ``load`` is ``loaded``, ``not-found``, ``masked`` …; ``active`` is ``active``, ``inactive`` …"""

    name: str
    load: str
    active: str


class SystemdError(Exception):
    """Systemd refused, or did not answer; the message is what it said, in one line."""


class Systemd:
    """The service manager of the machine below ``tree``. Fixed commands, checked names, never a shell."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._command = next((path for path in _SYSTEMCTL if tree.exists(path)), None)

    @property
    def here(self) -> bool:
        """Is systemd the init, as sd_booted(3) tells, and its tool installed?"""
        return self._command is not None and self._tree.exists("/run/systemd/system")

    def units(self, names: Sequence[str]) -> list[Unit]:
        """Each of ``names``, in one call. Raises :class:`SystemdError`."""
        text = self._run(_ASK_S, "show", "--property=LoadState,ActiveState", *_checked(names))
        blocks = [dict(line.split("=", 1) for line in block.split("\n") if "=" in line) for block in text.split("\n\n")]
        if len(blocks) != len(names):
            raise SystemdError(f"systemctl show: {len(blocks)} answers for {len(names)} units")
        said_of = {name: blocks[index] for index, name in enumerate(names)}
        return [Unit(name, of.get("LoadState", ""), of.get("ActiveState", "")) for name, of in said_of.items()]

    def stop(self, names: Sequence[str]) -> None:
        self._run(_ACT_S, "stop", *_checked(names))

    def start(self, name: str) -> None:
        try:
            self._run(_ACT_S, "start", *_checked([name]))
        except SystemdError as error:
            if "reset-failed" not in str(error):
                raise
            # Started five times within ten seconds, it is refused until that is forgotten; systemctl says so.
            self._run(_ASK_S, "reset-failed", *_checked([name]))
            self._run(_ACT_S, "start", *_checked([name]))

    def _run(self, timeout_s: float, verb: str, *words: str) -> str:
        if self._command is None:
            raise SystemdError("there is no systemctl")
        # Options first, then --: no unit can be taken for an option.
        options = [word for word in words if word.startswith("--")]
        units = [word for word in words if not word.startswith("--")]
        argv = [self._command, "--no-ask-password", "--no-pager", verb, *options, "--", *units]
        try:
            status, said, problem = self._tree.run(argv, timeout_s)
        except OSError as error:
            raise SystemdError(f"systemctl {verb}: {error.strerror or error}") from None
        if status != 0:
            why = " ".join((problem or said).split())[:400] or f"exit status {status}"
            raise SystemdError(f"systemctl {verb}: {why}")
        return said.strip("\n")


def _checked(names: Sequence[str]) -> list[str]:
    for name in names:
        if not _UNIT.fullmatch(name):
            raise SystemdError(f"not the name of a service or timer: {name[:80]!r}")
    return list(names)


def unit_entry(name: str, unit: Unit) -> dict[str, Any]:
    """An entry of the undo: ``unit`` is going to be stopped. It was ``active``, or ``activating`` (it was starting, or
    fails and is started again and again)."""
    before = "activating" if unit.active == "activating" else "active"
    return {"kind": "unit", "name": name, "unit": unit.name, "before": before}


def play_unit(entry: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """Start it again; the outcome as :meth:`harness.agent.undo.Undo.play` reports it.

    One that was ``activating`` is back also when it is that again: its start may fail, as it did before.
    """
    unit, before = str(entry.get("unit")), str(entry.get("before") or "active")
    back = {"active", before}
    outcome: dict[str, Any] = {"kind": "unit", "name": entry.get("name"), "path": unit, "before": before}
    outcome.update(found=None, ok=True, reason=None)
    systemd = Systemd(tree)
    try:
        [found] = systemd.units([unit])
        outcome["found"] = found.active
        if found.load == "not-found":
            outcome["reason"] = "gone"
        elif found.active not in back:
            refused = _started(systemd, unit)
            [now] = systemd.units([unit])
            if now.active not in back or (refused and before == "active"):
                outcome.update(ok=False, reason=refused or f"{now.active} after it was started")
    except SystemdError as error:
        outcome.update(ok=False, reason=str(error))
    return outcome


def _started(systemd: Systemd, unit: str) -> str | None:
    """What systemd had against it, or None."""
    try:
        systemd.start(unit)
    except SystemdError as error:
        return str(error)
    return None
