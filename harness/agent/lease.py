# SPDX-License-Identifier: Apache-2.0
"""Who may use this machine: one owner at a time, on the target's own disk, so that every controller sees the same.

The token only ever grows: whoever holds an older one was overtaken, and its batches are refused. Age is counted by
CLOCK_BOOTTIME (suspend counts, setting the clock does not). A lease survives a reboot; its time then counts from the
start of the new boot.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Callable

from .system import AgentError, write_durably

MAX_TTL_S = 7 * 86_400
#: No lease was ever taken so often; with 48 random bits on top a number is still exact in every JSON reader.
_BEYOND = 1 << 48


def boottime_ns() -> int:
    """CLOCK_BOOTTIME, in ns: time since boot, suspend included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Lease:
    """The lease file in the state folder. ``now_ns`` is CLOCK_BOOTTIME unless a test says otherwise."""

    def __init__(self, state: str, boot_id: str | None, now_ns: Callable[[], int] = boottime_ns) -> None:
        self._path = os.path.join(state, "lease.json")
        self._boot_id = boot_id
        self._now_ns = now_ns

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._path, "rb") as file:
                data = json.load(file)
            if isinstance(data["token"], int) and isinstance(data["owner"], dict):
                return dict(data)
        except FileNotFoundError:
            return {"token": 0, "owner": {}, "released": True}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        # Unreadable: nobody's, but its token is unknown and must not come again. The clock is no help: it may be wrong.
        return {"token": _BEYOND + int.from_bytes(os.urandom(6), "big"), "owner": {}, "released": True}

    def _age_s(self, data: dict[str, Any]) -> float:
        since = int(data.get("renewed_boottime_ns", 0)) if data.get("boot_id") == self._boot_id else 0
        return max(0, self._now_ns() - since) / 1e9

    def current(self) -> dict[str, Any] | None:
        """``{token, owner, age_s, expires_s}`` of the lease in force, or None."""
        data = self._read()
        age_s = self._age_s(data)
        expires_s = float(data.get("ttl_s", 0)) - age_s
        if data.get("released") or expires_s <= 0:
            return None
        return {"token": data["token"], "owner": data["owner"], "age_s": age_s, "expires_s": expires_s}

    def acquire(self, owner: dict[str, str], ttl_s: float, *, in_use: bool = False) -> dict[str, Any]:
        """Take the lease, or take one's own over again; the token grows either way.

        Raises :class:`AgentError` of kind ``busy`` while another owner holds it, or (``in_use``) while its batch runs
        on although it expired.
        """
        data = self._read()
        held = self.current()
        if data["owner"].get("id") != owner["id"] and (held is not None or in_use):
            age_s = self._age_s(data)
            raise Busy(data["owner"], age_s, held["expires_s"] if held else 0.0)
        data = {"token": data["token"] + 1, "owner": owner, "released": False}
        return self._store(data, ttl_s)

    def renew(self, token: int, ttl_s: float) -> dict[str, Any]:
        """Count the time anew. Raises :class:`AgentError` of kind ``stale-token`` for any token but the newest."""
        return self._store(self.check(token), ttl_s)

    def check(self, token: int) -> dict[str, Any]:
        data = self._read()
        if data.get("released") or data["token"] != token:
            raise AgentError(
                "infrastructure",
                "stale-token",
                f"token {token} is not the lease's: it was taken over or released",
                "somebody else uses this target, or this lane was started twice; acquire again",
            )
        return data

    def release(self, token: int) -> None:
        data = self.check(token)
        data["released"] = True
        write_durably(self._path, json.dumps(data).encode())

    def _store(self, data: dict[str, Any], ttl_s: float) -> dict[str, Any]:
        ttl_s = min(max(float(ttl_s), 1.0), MAX_TTL_S)
        data.update(renewed_boottime_ns=self._now_ns(), boot_id=self._boot_id, ttl_s=ttl_s)
        write_durably(self._path, json.dumps(data).encode())
        return {"token": data["token"], "expires_s": ttl_s}


class Busy(AgentError):
    """Another owner holds the lease; ``body`` is what the ``busy`` frame says."""

    def __init__(self, owner: dict[str, Any], age_s: float, expires_s: float) -> None:
        who = owner.get("who") or owner.get("id") or "somebody"
        super().__init__("infrastructure", "busy", f"in use by {who} for {age_s:.0f} s")
        self.body = {"owner": owner, "age_s": age_s, "expires_s": expires_s}
