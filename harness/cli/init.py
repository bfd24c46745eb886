# SPDX-License-Identifier: Apache-2.0
"""``init``: a target into the inventory, its host key and serial number pinned; or a virtual board."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import complete, options

if TYPE_CHECKING:
    from ..advice import Finding
    from ..config.inventory import Target
    from ..target.keys import HostKey

_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s]+)(?::(?P<port>[0-9]{1,5}))?")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
_SERIAL = re.compile(r"[!-~][ -~]{0,99}")
_SCAN_S = 30.0


@click.command(
    help="Add the machine at ADDRESS (user@host, user@host:port) to the inventory. Its host key is shown, to be "
    "compared with the machine's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and pinned. With --repin, "
    "pin the new key of a target that is there already: it was reinstalled. With --virtual, add a board that is QEMU: "
    "then its name stands in the place of an address."
)
@click.argument("address", required=False)
@click.option(
    "--virtual",
    metavar="ARCH",
    shell_complete=complete.virtual_arches,
    help="Add a virtual board of this architecture: `isolbench lab up` starts it.",
)
@click.option("--name", help="Its name in the inventory.  [default: the host's first label, or its address]")
@click.option("--identity", type=click.Path(path_type=Path, dir_okay=False), help="The private key to log in with.")
@click.option("--tag", "tags", multiple=True, help="Repeatable.")
@click.option(
    "--repin",
    metavar="NAME",
    shell_complete=complete.pinned,
    help="Replace the host key of this target, instead of adding one.",
)
@click.option("--fingerprint", metavar="SHA256:...", help="Accept exactly this host key, without asking.")
@click.option("--yes", is_flag=True, help="Accept whatever host key is shown, without asking: trust on first use.")
@options.inventory
@options.as_json
def init(
    address: str | None,
    virtual: str | None,
    name: str | None,
    identity: Path | None,
    tags: tuple[str, ...],
    repin: str | None,
    fingerprint: str | None,
    yes: bool,
    inventory: Path | None,
    as_json: bool,
) -> int:
    if virtual is not None and address is None:
        raise click.UsageError("--virtual: give the board a name")
    if (address is None) == (repin is None):
        raise click.UsageError("name an address to add, or a target to pin anew by --repin")
    if repin is not None and (name or identity or tags):
        raise click.UsageError("--repin changes the host key alone: --name, --identity and --tag are for a new target")
    if fingerprint is not None and not _FINGERPRINT.fullmatch(fingerprint):
        raise click.UsageError(f"--fingerprint: expected SHA256: and 43 characters, found {fingerprint!r}")
    path = inventory or options.DEFAULT_INVENTORY
    if virtual is not None:
        if address is None or name or identity or fingerprint:
            raise click.UsageError(
                "of a virtual board give its name and --virtual ARCH alone: what leads to it is known"
            )
        done = _add_board(address, virtual, tags, path)
    elif address is not None:
        done = _add(address, name, identity, tags, fingerprint, yes, path)
    else:
        assert repin is not None
        done = _repin(repin, fingerprint, yes, path)
    return done.told(path, as_json=as_json)


@dataclass(frozen=True)
class _Done:
    """What came of it. ``found`` is what the target has and lacks, once it was looked at."""

    target: str
    key: HostKey | None
    written: bool
    found: list[Finding]
    code: int = 0

    def told(self, path: Path, *, as_json: bool) -> int:
        """Print it; the exit code."""
        from ..advice import worst
        from .doctor_facts import show
        from .render import echo_json

        if as_json:
            echo_json(
                {
                    "target": self.target,
                    "inventory": str(path),
                    "host_key": self.key and {"type": self.key.type, "fingerprint": self.key.fingerprint},
                    "written": self.written,
                    "findings": [asdict(each) for each in self.found],
                }
            )
        elif self.written:
            show(self.target, self.found)
        return self.code or (3 if worst(self.found) == "fail" else 0)


def _add(
    address: str,
    name: str | None,
    identity: Path | None,
    tags: tuple[str, ...],
    fingerprint: str | None,
    yes: bool,
    path: Path,
) -> _Done:
    from ..campaign.enrol import enrol, entry_of
    from ..config.inventory import Target, load_inventory
    from ..deadline import Deadline
    from ..errors import UserError
    from ..target.connect import scan_host_key

    if address == "local":
        raise UserError("local is this machine: it is always there, and needs no entry")
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError(f"{address!r}: expected user@host or user@host:port")
    host = match["host"].strip("[]")
    port = int(match["port"]) if match["port"] else None
    keys = entry_of(address=host, user=match["user"], port=port, identity=identity, tags=tags)
    name = name or _name_of(host)
    key = scan_host_key(Target(name=name, address=host, user=match["user"], port=port), Deadline.after(_SCAN_S))
    click.echo(f"{address} shows the host key {key.type} {key.fingerprint}", err=True)
    for other in load_inventory(path if path.exists() else None).targets.values():
        if (other.address, other.port or 22, other.host_key) == (host, port or 22, str(key)) and other.name != name:
            raise UserError(
                f"{other.name} is this machine already: the same address, port and host key",
                advice=f"measure it under that name; to rename it, edit {path}",
            )
    if not _accepted(key, address, fingerprint, yes):
        return _Done(name, key, written=False, found=[], code=2)
    check = _Check()
    enrol(path, name, {**keys, "host_key": str(key)}, check)
    click.echo(f"{name} is in {path}", err=True)
    check.pin_serial(path, name)
    return _Done(name, key, written=True, found=check.found)


def _add_board(name: str, arch: str, tags: tuple[str, ...], path: Path) -> _Done:
    """A board of two CPUs, of which the second is to be left alone. It is looked at once it is up."""
    from ..campaign.enrol import enrol
    from ..config.inventory import load_inventory
    from ..config.targets import VIRTUAL_ARCHES
    from ..errors import UserError
    from . import doctor_lab

    if arch not in VIRTUAL_ARCHES:
        raise UserError(f"--virtual {arch}: no virtual boards of that architecture ({', '.join(VIRTUAL_ARCHES)} are)")
    keys = {"virtual": {"arch": arch, "cpus": 2, "memory": "1G"}, "isolated": "1"}
    enrol(path, name, {**keys, **({"tags": list(tags)} if tags else {})}, lambda _target: None)
    click.echo(f"{name} is in {path}; bring it up: isolbench lab up {name}", err=True)
    return _Done(name, None, written=True, found=doctor_lab.findings(load_inventory(path), name))


def _name_of(host: str) -> str:
    """A host's first label; of an address all of it, in what a name may hold: ``10.0.0.5``, ``fe80--1``."""
    numeric = ":" in host or re.fullmatch(r"[0-9.]+", host)
    return host.replace(":", "-").strip("-") if numeric else host.partition(".")[0]


def _repin(name: str, fingerprint: str | None, yes: bool, path: Path) -> _Done:
    from ..campaign.enrol import repin
    from ..campaign.execution import target_of
    from ..config.inventory import load_inventory
    from ..deadline import Deadline
    from ..errors import UserError
    from ..target.connect import scan_host_key
    from ..target.keys import HostKey

    target = target_of(load_inventory(path), name)
    if target.local:
        raise UserError(f"{name} is this machine: it is not reached by SSH, and has no host key")
    key = scan_host_key(target, Deadline.after(_SCAN_S))
    if target.host_key:
        old = HostKey.parse(target.host_key)
        click.echo(f"{name}: pinned is the host key {old.type} {old.fingerprint}", err=True)
    click.echo(f"{name} shows the host key {key.type} {key.fingerprint}", err=True)
    if target.host_key == str(key):
        click.echo("they are the same: nothing was written", err=True)
        return _Done(name, key, written=False, found=[])
    if not _accepted(key, name, fingerprint, yes):
        return _Done(name, key, written=False, found=[], code=2)
    check = _Check()
    repin(path, name, str(key), check)
    click.echo(f"{name}: its new host key is in {path}", err=True)
    if target.serial is not None:
        check.pin_serial(path, name)
    return _Done(name, key, written=True, found=check.found)


def _accepted(key: HostKey, address: str, fingerprint: str | None, yes: bool) -> bool:
    """Whether the key that was shown is the machine's: by its fingerprint, by --yes, or by a person's word."""
    from ..errors import HostKeyError, UserError

    if fingerprint is not None:
        if fingerprint.rstrip("=") != key.fingerprint:
            raise HostKeyError(
                f"{address}: the host key shown is {key.fingerprint}, not {fingerprint}: nothing was written"
            )
        return True
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError("the host key has to be confirmed: name it by --fingerprint, or trust it by --yes")
    click.echo(f"on the machine's own console it is shown by: ssh-keygen -lf {_key_file(key)}", err=True)
    if click.confirm("is this the machine's own key?", err=True):
        return True
    click.echo("nothing was written", err=True)
    return False


def _key_file(key: HostKey) -> str:
    """Where sshd keeps it: ``ssh-ed25519`` is ``ed25519``, ``ecdsa-sha2-nistp256`` is ``ecdsa``."""
    kind = next((kind for kind in ("ed25519", "ecdsa", "rsa") if kind in key.type), "*")
    return f"/etc/ssh/ssh_host_{kind}_key.pub"


class _Check:
    """Looks at a target before it is written down: one that lets nobody in is not, or a second try would find its name
    taken. What else it lacks is shown afterwards."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.serial: str | None = None

    def pin_serial(self, path: Path, name: str) -> None:
        """Have the inventory say which board it is, if the board does: another one under its address is refused."""
        from ..campaign.enrol import pin_serial

        if self.serial is not None:
            pin_serial(path, name, self.serial)
            click.echo(f"{name}: pinned to the board of serial number {self.serial}", err=True)

    def __call__(self, target: Target) -> None:
        from ..errors import ConnectionLost, HostKeyError, IsolbenchError, Unreachable
        from ..target.transport import AuthenticationFailed
        from .doctor_facts import examine, failure

        try:
            facts, self.found = examine(target.model_copy(update={"serial": None}))  # a new one may be pinned
            serial = facts.get("serial")
            self.serial = serial if isinstance(serial, str) and _SERIAL.fullmatch(serial) else None
        except (ConnectionLost, HostKeyError, Unreachable) as error:
            click.echo("nothing was written:", err=True)
            if isinstance(error, AuthenticationFailed):
                error.advice = f"name the private key by --identity FILE; {error.advice or ''}".removesuffix("; ")
            raise
        except IsolbenchError as error:
            self.found = [failure(error)]
