# SPDX-License-Identifier: Apache-2.0
"""A session with a target's agent: connection, first contact, deployment and the held channel, opened in one go."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import ConnectionLost, IsolbenchError, TargetUnfit
from .client import AgentClient
from .contact import Contact, contact
from .deploy import deploy_agent
from .hands import Hands
from .transport import Channel, Pause, Transport, Waiting, open_transport

#: Seconds for each step: a contact forks a few programs, a deployment sends some 100 kB, an agent imports Python.
STEP_S = 60.0
#: An emulated board shares this machine's CPUs with others, and does all that a tenth as fast.
_EMULATED = 3.0


@dataclass(frozen=True)
class Session:
    """``welcome`` is the agent's first answer: its facts, who holds the lease, what it restored on waking.

    ``hands`` ask the agent about kernels, over the same connection.

    To the facts is added ``clock``: by how much the target's clock is off ours (None where that cannot be said).
    """

    target: Target
    contact: Contact
    client: AgentClient
    welcome: dict[str, Any]
    hands: Hands


def who() -> str:
    """The name under which we lease a target: for people, to know whom to ask."""
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()})"


def _ended(channel: Channel, error: ConnectionLost) -> IsolbenchError:
    """An agent that ended by itself would do so again: unlike a lost connection, it is not worth another try."""
    try:
        status = channel.exit_status(Deadline.after(1.0))
    except ConnectionLost:
        return error
    if status is None or status < 0:
        return error
    said = channel.stderr_tail().strip() or str(error)
    return TargetUnfit(f"the agent ended with status {status} before it answered: {said}")


def check_serial(target: Target, facts: Mapping[str, Any]) -> None:
    """Raise TargetUnfit unless this is the very board that the inventory pins by ``serial``, if it pins one."""
    serial = facts.get("serial")
    if target.serial is None or serial == target.serial:
        return
    if serial is None:
        raise TargetUnfit(
            f"the inventory says serial: {target.serial}, but this machine's cannot be read",
            advice="on x86 only root may read it (become: sudo); a board without one cannot be pinned: remove the key",
        )
    raise TargetUnfit(
        f"another board: the inventory says serial: {target.serial}, this machine's is {serial}",
        advice=f"if the board was swapped on purpose, write the new serial, or remove the key, in {target.name}",
    )


@contextmanager
def open_session(
    target: Target,
    owner: str,
    pause: Pause | None = None,
    waiting: Waiting | None = None,
    transport: Transport | None = None,
) -> Iterator[Session]:
    """Reach ``target`` and talk to its agent as ``owner`` (the id by which a lease may be taken over).

    ``pause``, ``waiting``: see :func:`harness.target.transport.open_transport`; ``transport``: one that is open, and is
    closed with the session.

    Raises what the transport, the contact and the deployment raise: see :mod:`harness.errors`. On leaving, the
    connection is closed; the agent on the other side lives on for as long as it has something to do.
    """

    def step() -> Deadline:
        return Deadline.after(STEP_S * (_EMULATED if target.virtual is not None else 1.0))

    transport = transport or open_transport(target, pause=pause, waiting=waiting)
    try:
        found = contact(transport, target, step())
        path = deploy_agent(transport, found, step())
        argv = [*found.argv_prefix, found.python, "-I", "-B", path, "attach", "--deploy", found.deploy_root]
        channel = transport.open(argv, deadline=step())
        client = AgentClient(channel, target.name)
        try:
            try:
                welcome = client.hello({"id": owner, "who": who()}, step())
            except ConnectionLost as error:
                raise _ended(channel, error) from error
            facts = welcome.get("facts")
            if isinstance(facts, dict):
                clock = client.clock(step())
                facts["clock"] = None if clock is None else clock.to_json()
                check_serial(target, facts)
            yield Session(target, found, client, welcome, Hands(transport, found, path))
        finally:
            client.close()
    finally:
        transport.close()
