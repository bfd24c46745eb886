# SPDX-License-Identifier: Apache-2.0
"""Waiting for a target that was sent away: it is back once it answers with another boot id."""

from __future__ import annotations

from collections.abc import Callable

from ..config.inventory import Target
from ..deadline import Deadline
from ..errors import BoardDown, InfrastructureFault
from ..lab.power import answers
from .proof import NotBack, not_back
from .transport import Pause, Transport, open_transport

#: Between two tries to connect: each is a login, and servers penalise what comes too often.
_TRY_S = 3.0
#: QEMU takes any connection at once, and hands it on when the board is there: first it is looked whether one speaks.
_LOOK_S = 1.0
#: One that has just come up has much to do; one that is going down may never answer.
_LOGIN_S = 20.0


def answering(
    target: Target, before: str, patience_s: float, pause: Pause, console: Callable[[], str | None]
) -> Transport:
    """A connection to ``target``, whose boot id was ``before``, once it has booted.

    ``pause`` waits and says whether we are asked to stop; ``console`` is what it has said meanwhile. Raises NotBack of
    one that is not there within ``patience_s`` seconds, or never will be, and where we are asked to stop.
    """
    deadline = Deadline.after(patience_s)
    said: str | None = None
    virtual = target.virtual is not None
    while not deadline.expired:
        if pause(min(_LOOK_S if virtual else _TRY_S, deadline.remaining())):
            raise NotBack("asked to stop while it was booting")
        try:
            if virtual and not answers(target.name):
                said = "its SSH server does not answer"
                continue
            transport = open_transport(target, Deadline.after(min(_LOGIN_S, deadline.remaining() + 1)))
            found = _boot_id(transport)
            if found and found != before:
                return transport
            transport.close()
            said = "its boot id is the same: it did not go down"
        except BoardDown as error:
            raise not_back(None, str(error), console()) from None
        except InfrastructureFault as error:
            said = str(error)
    raise not_back(patience_s, said, console())


def _boot_id(transport: Transport) -> str:
    """Closes ``transport`` where it cannot be read."""
    try:
        done = transport.run(["cat", "/proc/sys/kernel/random/boot_id"], deadline=Deadline.after(_LOGIN_S))
    except BaseException:
        transport.close()
        raise
    return done.stdout.decode("ascii", "replace").strip()
