# SPDX-License-Identifier: Apache-2.0
"""``doctor`` without measuring: what this machine and a target have, what they lack, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .render import console, printable, restored

if TYPE_CHECKING:
    from ..advice import Finding
    from ..config.inventory import Target
    from ..errors import IsolbenchError

#: Where the agent's state lies in memory, if it could not be had elsewhere.
_IN_MEMORY = ("/tmp/", "/dev/shm/", "/run/")  # noqa: S108 (only looked at)

#: Topics of findings that are no fault, and yet nothing is measured now.
DISABLED, LEASE = "inventory", "lease"

_MARKS = {"ok": ("ok", "green"), "note": ("note", "cyan"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def controller() -> list[Finding]:
    """What is needed here: a compiler for the probes, and a key to log in with."""
    from ..advice import Finding
    from ..build import build_probe, native_arch, probes
    from ..errors import IsolbenchError

    found = [Finding("ok", "Python", ".".join(map(str, sys.version_info[:3])))]
    by: dict[str, list[str]] = {}
    failed: dict[tuple[str, str], list[str]] = {}
    for name in probes():
        try:
            by.setdefault(build_probe(name, native_arch()).compiler, []).append(name)
        except IsolbenchError as error:
            failed.setdefault((str(error), error.advice or ""), []).append(name)
    found += [Finding("ok", "probes", f"{', '.join(names)}: by {compiler}") for compiler, names in by.items()]
    found += [Finding("fail", "probes", f"{', '.join(names)}: {why}", what) for (why, what), names in failed.items()]
    keys = sorted(path.name for path in (Path.home() / ".ssh").glob("id_*.pub"))
    if keys:
        found.append(Finding("ok", "SSH keys", ", ".join(keys)))
    else:
        found.append(Finding("note", "SSH keys", "none in ~/.ssh: targets need one", "ssh-keygen -t ed25519"))
    return found


def meet(target: Target) -> tuple[dict[str, Any], list[Finding]]:
    """As :func:`examine`, and what went wrong as a finding; nothing is known of a target that was not met."""
    from ..advice import Finding
    from ..errors import IsolbenchError

    if target.disabled is not None:
        return {}, [Finding("note", DISABLED, f"disabled: {target.disabled}")]
    try:
        return examine(target)
    except IsolbenchError as error:
        return {}, [failure(error)]


def examine(target: Target) -> tuple[dict[str, Any], list[Finding]]:
    """The facts of ``target``, and what it has and lacks.

    Raises what :func:`~harness.target.session.open_session` raises.
    """
    from ..advice import findings
    from ..campaign import facts_cache
    from ..target.session import open_session

    with open_session(target, f"doctor/{target.name}") as session:
        facts = session.welcome["facts"]
        facts_cache.remember(target, facts)
        return facts, [*_session(session), *findings(facts), *_modes(target, facts)]


def twins(facts: dict[str, Any], met: dict[str, dict[str, Any]]) -> Iterable[Finding]:
    """The targets met before that are this very machine, or a copy of its disk."""
    from ..advice import Finding
    from ..campaign.machines import cloned, one_machine

    for other, theirs in met.items():
        if why := one_machine(theirs, facts):
            yield Finding(
                "warn", "machine", f"the same machine as {other} ({why})", "measure it under one name in a campaign"
            )
        elif cloned(theirs, facts):
            yield Finding(
                "note",
                "machine",
                f"its machine-id is that of {other}: one disk is a copy of the other",
                "give it an id of its own, or DHCP may give both one address: "
                "rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot",
            )


def failure(error: IsolbenchError) -> Finding:
    """What went wrong, under the name of the thing that it is about."""
    from .. import errors
    from ..advice import Finding
    from ..target.sudo import SudoRefused
    from ..target.transport import AuthenticationFailed

    topics: list[tuple[type[IsolbenchError], str]] = [
        (AuthenticationFailed, "login"),
        (errors.HostKeyError, "host key"),
        (errors.Unreachable, "connection"),
        (errors.ConnectionLost, "connection"),
        (errors.Busy, "in use"),
        (errors.StorageFull, "storage"),
        (SudoRefused, "sudo"),
        (errors.UserError, "configuration"),
        (errors.EnvironmentFault, "target"),
    ]
    topic = next((topic for kind, topic in topics if isinstance(error, kind)), "agent")
    return Finding("fail", topic, str(error), error.advice or "")


def _session(session: Any) -> Iterable[Finding]:
    from ..advice import Finding

    contact, facts = session.contact, session.welcome["facts"]
    how = "this machine" if session.target.local else f"SSH as {contact.user}"
    yield Finding("ok", "reached", f"{how}, {'root by sudo' if contact.sudo else f'uid {contact.uid}'}, {contact.arch}")
    yield Finding("ok", "agent", f"Python {'.'.join(map(str, contact.python_version))}, in {contact.deploy_root}")
    if str(session.welcome.get("state_dir")).startswith(_IN_MEMORY):
        yield Finding(
            "note", "spool", f"in memory ({session.welcome['state_dir']}): a reboot loses runs not yet fetched"
        )
    known = [f"{key} {facts[key]}" for key in ("serial", "uuid") if facts.get(key)]
    macs = facts.get("macs")
    known += map(str, macs if isinstance(macs, list) else ())
    if known:
        yield Finding("ok", "board", ", ".join(known))
    else:
        yield Finding("note", "board", "no serial number, UUID or network address of its own that can be read")
    for note in contact.notes:
        yield Finding("note", "contact", note)
    for entry in session.welcome.get("restored") or []:
        yield Finding("warn", "undo", f"an earlier agent had left this changed: {restored(entry)}")
    if lease := session.welcome.get("lease"):
        yield leased(lease, session.target.name)


def leased(lease: Mapping[str, Any], name: str) -> Finding:
    """Who has the target called ``name``: nothing is wrong with it, and yet nobody else measures there now."""
    from ..advice import Finding
    from ..target.client import in_use

    held = in_use(lease, name)
    return Finding("note", LEASE, str(held), held.advice or "")


def _modes(target: Target, facts: dict[str, Any]) -> Iterable[Finding]:
    """Which of the shipped modes can run there."""
    from ..advice import Finding
    from ..agent import modes
    from ..errors import TargetUnfit
    from ..plan import place

    try:
        placement = place(facts, target)
    except TargetUnfit as error:
        yield Finding("fail", "placement", str(error), error.advice or "")
        return
    measured = ", ".join(map(str, placement.measured))
    housekeeping = ", ".join(map(str, placement.housekeeping)) or "none"
    yield Finding("ok", "placement", f"measured CPU {measured}, housekeeping {housekeeping}")
    for note in placement.notes:
        yield Finding("note", "placement", note)
    by: dict[str, list[str]] = {}
    for mode in modes.MODES:
        reasons = mode.needs(facts, placement.measured, placement.housekeeping)
        by.setdefault("; ".join(reasons), []).append(mode.name)
    if able := by.pop("", None):
        yield Finding("ok", "modes", f"can run: {', '.join(able)}")
    for why, names in by.items():
        yield Finding("note", "modes", f"{', '.join(names)}: not supported: {why}")


def show(name: str, found: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(printable(name), style="bold"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for finding in found:
        mark, style = _MARKS[finding.level]
        table.add_row(Text(f"  {mark}", style=style), Text(printable(finding.topic)), Text(printable(finding.text)))
        if finding.advice:
            table.add_row("", "", Text(f"advice: {printable(finding.advice)}", style="italic"))
    out.print(table)
