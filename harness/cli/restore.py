# SPDX-License-Identifier: Apache-2.0
"""``restore``: put targets back as they were found, whoever left them otherwise."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, options
from .render import echo_json, printable, restored

if TYPE_CHECKING:
    from ..config.inventory import Target

_ANSWER_S = 60.0


@click.command(help="Put TARGETs (default: local) back as they were found: what a crash left changed is undone.")
@click.argument("targets", nargs=-1, shell_complete=complete.names)
@options.inventory
@click.option("--kernels", is_flag=True, help="Also remove the kernels that isolbench installed.")
@click.option("--cancel", is_flag=True, help="Also end a batch that is being measured, whoever submitted it.")
@options.as_json
def restore(targets: tuple[str, ...], inventory: Path | None, kernels: bool, cancel: bool, as_json: bool) -> int:
    from ..campaign.execution import target_of
    from ..campaign.visit import visit
    from ..config.inventory import load_inventory
    from ..errors import IsolbenchError

    known = load_inventory(options.inventory_path(inventory))
    code = 0
    told: dict[str, Any] = {}

    def ask(target: Target) -> list[dict[str, Any]] | IsolbenchError:
        try:
            return _restore(target, cancel=cancel, kernels=kernels)
        except IsolbenchError as error:
            return error

    for target, entries in visit([target_of(known, name) for name in targets or ("local",)], ask):
        if isinstance(entries, IsolbenchError):
            code = max(code, entries.exit_code)
            told[target.name] = {"error": str(entries), "advice": entries.advice}
            _say(as_json, f"{target.name}: {printable(entries)}", err=True)
            if entries.advice:
                _say(as_json, f"  advice: {printable(entries.advice)}", err=True)
            continue
        told[target.name] = {"restored": entries}
        failed = [entry for entry in entries if not entry.get("ok", True)]
        code = max(code, 3 if failed else 0)
        for entry in entries:
            _say(as_json, f"{target.name}: {restored(entry)}")
        if not entries:
            _say(as_json, f"{target.name}: nothing to put back")
    if as_json:
        echo_json({"targets": told})
    return code


def _restore(target: Target, *, cancel: bool, kernels: bool) -> list[dict[str, Any]]:
    """What was put back; with ``kernels`` those of ours last, when nothing is measured any more."""
    entries = _put_back(target, cancel=cancel)
    if kernels:
        from ..target.booting import remove_kernels

        entries += remove_kernels(target)
    return entries


def _put_back(target: Target, *, cancel: bool) -> list[dict[str, Any]]:
    """What was put back: on the agent's waking (an earlier one had died), and now."""
    from ..deadline import Deadline
    from ..errors import Busy
    from ..target.session import open_session

    owner = f"restore/{target.name}"
    with open_session(target, owner, time.sleep) as session:
        entries = list(session.welcome.get("restored") or [])
        lease = session.welcome.get("lease")
        batch = session.client.list_runs("none", Deadline.after(_ANSWER_S)).get("batch")
        if batch is None:
            return [*entries, *session.client.restore(Deadline.after(_ANSWER_S))]
        if not cancel:
            who = ((lease or {}).get("owner") or {}).get("who", "somebody")
            raise Busy(
                f"{batch.get('execution')} is being measured for {who}; it is put back when that ends",
                advice="wait, resume that execution, or end it by --cancel",
            )
    # Only its owner may cancel a batch: a person who says --cancel speaks for the owner.
    speaking_for = ((lease or {}).get("owner") or {}).get("id", owner)
    with open_session(target, speaking_for, time.sleep) as session:
        session.client.cancel(Deadline.after(_ANSWER_S))
        return [*entries, *session.client.restore(Deadline.after(_ANSWER_S))]


def _say(quiet: bool, text: str, *, err: bool = False) -> None:
    if not quiet:
        click.echo(text, err=err)
