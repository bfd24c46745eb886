# SPDX-License-Identifier: Apache-2.0
"""``init``: a target into the inventory, its host key pinned."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from . import options

_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s]+)(?::(?P<port>[0-9]{1,5}))?")


@click.command(
    help="Add the machine at ADDRESS (user@host, user@host:port) to the inventory. Its host key is shown, to be "
    "compared with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and pinned."
)
@click.argument("address")
@click.option("--name", help="Its name in the inventory.  [default: the host's first label]")
@click.option("--identity", type=click.Path(path_type=Path, dir_okay=False), help="The private key to log in with.")
@click.option("--tag", "tags", multiple=True, help="Repeatable.")
@click.option("--fingerprint", metavar="SHA256:...", help="Accept exactly this host key, without asking.")
@click.option("--yes", is_flag=True, help="Accept whatever host key is shown, without asking: trust on first use.")
@options.inventory
def init(
    address: str,
    name: str | None,
    identity: Path | None,
    tags: tuple[str, ...],
    fingerprint: str | None,
    yes: bool,
    inventory: Path | None,
) -> int:
    from ..campaign.enrol import enrol, entry_of
    from ..config.inventory import Target
    from ..deadline import Deadline
    from ..errors import HostKeyError, UserError
    from ..target.connect import scan_host_key

    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError(f"{address!r}: expected user@host or user@host:port")
    host = match["host"].strip("[]")
    keys = entry_of(
        address=host,
        user=match["user"],
        port=int(match["port"]) if match["port"] else None,
        identity=identity,
        tags=tags,
    )
    name = name or (host if re.fullmatch(r"[0-9.:]+", host) else host.partition(".")[0]).replace(":", "-")
    key = scan_host_key(Target(name=name, address=host, user=match["user"], port=keys.get("port")), Deadline.after(30))
    click.echo(f"{address} shows the host key {key.type} {key.fingerprint}", err=True)
    if fingerprint is not None:
        if fingerprint != key.fingerprint:
            raise HostKeyError(
                f"{address}: the host key shown is {key.fingerprint}, not {fingerprint}: nothing was written"
            )
    elif not yes:
        if not sys.stdin.isatty():
            raise UserError("the host key has to be confirmed: name it by --fingerprint, or trust it by --yes")
        click.confirm("is this the machine's own key?", abort=True, err=True)
    path = inventory or options.DEFAULT_INVENTORY
    target = enrol(path, name, {**keys, "host_key": str(key)})
    click.echo(f"{name} is in {path}", err=True)
    from .doctor import examine_target

    return examine_target(target)
