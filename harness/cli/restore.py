# SPDX-License-Identifier: Apache-2.0
"""``restore``: put targets back as they were found, whoever left them otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, options
from .render import echo_json, printable, restored
from .words import plural

if TYPE_CHECKING:
    from ..config.inventory import Target
    from ..target.session import Session

_ANSWER_S = 60.0
#: As long as removing kernels may take.
_KERNELS_S = 900.0


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

    def ask(target: Target) -> _Restored | IsolbenchError:
        try:
            return _restore(target, cancel=cancel, kernels=kernels)
        except IsolbenchError as error:
            return error

    for target, done in visit([target_of(known, name) for name in targets or ("local",)], ask):
        if isinstance(done, IsolbenchError):
            code = max(code, done.exit_code)
            told[target.name] = {"error": str(done), "advice": done.advice}
            _say(as_json, f"{target.name}: {printable(done)}", err=True)
            if done.advice:
                _say(as_json, f"  advice: {printable(done.advice)}", err=True)
            continue
        told[target.name] = asdict(done)
        failed = [entry for entry in done.restored if not entry.get("ok", True)]
        code = max(code, 3 if failed else 0)
        if done.ended is not None:
            left = plural(len(done.ended["remaining"]), "run")
            _say(
                as_json,
                f"{target.name}: ended the batch of {printable(done.ended['execution'])}, {left} before its end",
            )
        for entry in done.restored:
            _say(as_json, f"{target.name}: {restored(entry)}")
        if not done.restored and done.ended is None:
            _say(as_json, f"{target.name}: nothing to put back")
    if as_json:
        echo_json({"targets": told})
    return code


@dataclass(frozen=True)
class _Restored:
    """``ended``: the ``execution`` whose batch was cancelled, and its ``remaining`` runs; None: there was none."""

    ended: dict[str, Any] | None
    restored: list[dict[str, Any]]


def _restore(target: Target, *, cancel: bool, kernels: bool) -> _Restored:
    """What was put back: on the agent's waking (an earlier one had died), with the batch that was ended, and now.

    With ``kernels`` those of ours last, when nothing is measured any more.
    """
    from ..deadline import Deadline
    from ..errors import Busy
    from ..target.session import open_session

    owner = f"restore/{target.name}"
    with open_session(target, owner, time.sleep) as session:
        # What failed until now is tried again, and is in the answer to that.
        entries = [each for each in session.welcome.get("restored") or [] if each.get("ok")]
        lease = session.welcome.get("lease")
        batch = session.client.list_runs("none", Deadline.after(_ANSWER_S)).get("batch")
        if batch is None and (lease is None or not cancel):
            entries += session.client.restore(Deadline.after(_ANSWER_S))
            return _Restored(None, [*entries, *_boots(session, target, kernels=kernels)])
        if batch is not None and not cancel:
            who = ((lease or {}).get("owner") or {}).get("who", "somebody")
            raise Busy(
                f"{batch.get('execution')} is being measured for {who}; it is put back when that ends",
                advice="wait, resume that execution, or end it by --cancel",
            )
    # Only its owner may cancel a batch: a person who says --cancel speaks for the owner.
    speaking_for = ((lease or {}).get("owner") or {}).get("id", owner)
    with open_session(target, speaking_for, time.sleep) as session:
        ended = session.client.cancel(Deadline.after(_ANSWER_S)) or {}
        entries += _put_back(ended)
        again = session.client.restore(Deadline.after(_ANSWER_S))
        again += _boots(session, target, kernels=kernels)
    return _Restored(
        {"execution": str(ended.get("execution")), "remaining": list(ended.get("remaining") or [])} if ended else None,
        [*entries, *(each for each in again if each not in entries)],
    )


def _boots(session: Session, target: Target, *, kernels: bool) -> list[dict[str, Any]]:
    """What a boot left here for ``target``, and, with ``kernels``, of ours there, removed: nobody is booting meanwhile.

    Raises Busy while somebody holds the lease, if ``kernels`` are asked for.
    """
    from ..deadline import Deadline
    from ..errors import Busy
    from ..target.booting import put_back_here, remove_kernels

    if target.boot is None and not kernels:
        return []
    try:
        token = session.client.acquire(_KERNELS_S, Deadline.after(_ANSWER_S))
    except Busy:
        if kernels:
            raise
        return []  # who holds it may be booting it with what lies here
    try:
        put_back_here(target)
        if not kernels:
            return []
        return remove_kernels(session.hands.under(token, str(session.welcome.get("state_dir"))))
    finally:
        session.client.release(token, Deadline.after(_ANSWER_S))


def _put_back(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the end of a batch put back; without the processes of it where none was left. What failed is tried again."""
    listed = [each for each in answer.get("restored") or [] if isinstance(each, dict) and each.get("ok")]
    return [each for each in listed if each.get("kind") != "processes" or each.get("killed")]


def _say(quiet: bool, text: str, *, err: bool = False) -> None:
    if not quiet:
        click.echo(text, err=err)
