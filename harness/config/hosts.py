# SPDX-License-Identifier: Apache-2.0
"""Syntax of what leads to a host: addresses, users, host keys, jumps. Pure.

Nothing here may begin with a dash: these texts end up beside options on command lines.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import Any

from .accepts import accepts, word_like
from .types import to_line, wrong
from .yaml import suggest

HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+\\-]{0,63}\$?")
_HOP = re.compile(r"(?:([^@]+)@)?(\[[^\]]+\]|[^:]+)(?::([0-9]{1,5}))?")


def to_address(value: Any) -> str:
    """A host name or an IP address; user and port have keys of their own."""
    text = to_line(value)
    if _HOST.fullmatch(text) or _is_ip(text):
        return text
    if "@" in text:
        raise wrong(f"{text!r}: the user goes into the key user")
    if re.fullmatch(r"[^:]+:[0-9]+", text):
        raise wrong(f"{text!r}: the port goes into the key port")
    raise wrong(f"expected a host name or an IP address, found {text!r}")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def to_user(value: Any) -> str:
    text = to_line(value)
    if not _USER.fullmatch(text):
        raise wrong(f"expected a user's name, found {text!r}")
    return text


def to_proxy_jump(value: Any) -> str:
    """``[user@]host[:port]``, or several with commas between, nearest first, as for ``ssh -J``."""
    text = to_line(value)
    for hop in text.split(","):
        match = _HOP.fullmatch(hop)
        if match is None or (match[3] is not None and not 1 <= int(match[3]) <= 65535):
            raise wrong(f"expected [user@]host[:port], found {hop!r}")
        if match[1] is not None:
            to_user(match[1])
        to_address(match[2].strip("[]"))
    return text


@accepts(word_like(rf"\s*(?:{'|'.join(HOST_KEY_TYPES)})\s+[A-Za-z0-9+/]+=*(?:\s.*)?"))
def to_host_key(value: Any) -> str:
    """``"ssh-ed25519 AAAA…"`` as in a ``.pub`` file, without its comment."""
    fields = to_line(value).split()
    if len(fields) < 2:
        raise wrong("expected the type and the key in base64, as in /etc/ssh/ssh_host_ed25519_key.pub")
    kind, encoded = fields[:2]
    if kind not in HOST_KEY_TYPES:
        raise wrong(f"unknown host key type {kind!r}{suggest(kind, HOST_KEY_TYPES)}")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise wrong(f"the {kind} key is not base64") from None
    inner = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    if inner != kind.encode():
        raise wrong(f"the base64 part is not a key of type {kind}: was it cut short?")
    return f"{kind} {encoded}"
