# SPDX-License-Identifier: Apache-2.0
"""``lab``: virtual boards, up and down."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import complete, options
from .render import console, echo_json, error_lines, printable
from .words import plural

if TYPE_CHECKING:
    from rich.table import Table

    from ..config.targets import Target
    from ..lab.pause import Pause
    from ..lab.state import Record

_FOLLOW_S = 0.3


@click.group(help="Virtual boards: machines that are QEMU, with real kernels from Debian's packages.")
def lab() -> None:
    pass


@lab.command(help="Bring boards up (default: all of the inventory) side by side, as new, and wait until they answer.")
@click.argument("names", nargs=-1, shell_complete=complete.names)
@options.inventory
@options.as_json
def up(names: tuple[str, ...], inventory: Path | None, as_json: bool) -> int:
    from ..errors import IsolbenchError
    from ..lab import boards, several
    from .coming import Coming

    found = {target.name: target for target in _boards(names, inventory)}
    told: dict[str, Any] = {}
    codes = [0]

    with Coming(list(found), quiet=as_json) as coming:

        def done(name: str, outcome: Record | IsolbenchError) -> None:
            if isinstance(outcome, IsolbenchError):
                codes.append(outcome.exit_code)
                told[name] = {"error": str(outcome), "advice": outcome.advice}
            else:
                told[name] = {"port": outcome.port, "kernel": outcome.kernel, "accel": outcome.accel}
            coming.done(name, outcome)

        def job(target: Target) -> several.Job[Record]:
            assert target.virtual is not None
            virtual = target.virtual
            return lambda pause: boards.up(target.name, virtual, coming.say(target.name), pause=pause)

        several.side_by_side({name: job(target) for name, target in found.items()}, done)
    if as_json:
        echo_json({"boards": told})
    return max(codes)


@lab.command(help="Take boards down (default: all that are up) and remove all there is of them; images stay cached.")
@click.argument("names", nargs=-1, shell_complete=complete.names)
@options.as_json
def down(names: tuple[str, ...], as_json: bool) -> int:
    from ..errors import IsolbenchError
    from ..lab import boards, several, state

    known = dict.fromkeys(names) or dict.fromkeys(folder.name for folder in state.folders())
    told: dict[str, Any] = {}
    codes = [0]

    def done(name: str, outcome: bool | IsolbenchError) -> None:
        if isinstance(outcome, IsolbenchError):
            codes.append(outcome.exit_code)
            told[name] = {"error": str(outcome), "advice": outcome.advice}
            for line in error_lines(outcome):
                click.echo(line, err=True)
            return
        told[name] = outcome
        if not as_json:
            click.echo(f"{printable(name)}: {'down' if outcome else 'was not up'}")

    def job(name: str) -> several.Job[bool]:
        return lambda _: boards.down(name)

    several.side_by_side({name: job(name) for name in known}, done, at_once=max(1, len(known)))
    if as_json:
        echo_json({"boards": told})
    return max(codes)


@lab.command(help="Which boards are up, and which ended by themselves.")
@options.as_json
def status(as_json: bool) -> None:
    from ..lab import state

    found = state.records()
    if as_json:
        keys = ("name", "image", "kernel", "arch", "cpus", "memory_mb", "accel", "port", "pid")
        echo_json({"boards": [{key: getattr(one, key) for key in keys} | {"alive": one.is_alive()} for one in found]})
        return
    if not found:
        click.echo("no board is up")
        return
    console().print(table_of(found))


def table_of(found: list[Record]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from ..lab.state import BoardFolder

    table = Table(box=None, pad_edge=False)
    for title in ("board", "state", "image, kernel", "CPUs, memory", "by", "port", "pid"):
        table.add_column(title, overflow="fold")  # a narrow terminal cuts nothing
    for one in found:
        up = Text("busy", style="yellow") if BoardFolder(one.name).is_busy() else Text("up", style="green")
        state_text = up if one.is_alive() else Text("gone", style="red")
        made = (f"{one.image} {one.kernel}", f"{one.cpus}, {one.memory_mb} MB")
        words = (*made, one.accel, str(one.port), str(one.pid))
        table.add_row(printable(one.name), state_text, *map(printable, words))
    return table


@lab.command("console", help="What a board's serial console said in its last boot.")
@click.argument("name", shell_complete=complete.names)
@click.option("--boot", type=int, default=-1, show_default=True, help="Which boot: 0 the first, -1 the last.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what it says next, until Ctrl-C.")
def show_console(name: str, boot: int, follow: bool) -> None:
    from ..errors import UserError
    from ..lab import way
    from ..lab.console import boots

    text = way.console_text(name)
    found = boots(text)
    if not -len(found) <= boot < max(len(found), 1):
        raise UserError(f"board {name} has booted {len(found)} times since it was brought up")
    for line in (found[boot] if found else "").splitlines():
        click.echo(printable(line))
    seen = text.rfind("\n") + 1
    while follow:
        time.sleep(_FOLLOW_S)
        text = way.console_text(name)
        whole = text.rfind("\n") + 1
        for line in text[seen:whole].splitlines():
            click.echo(printable(line))
        seen = whole


@lab.command(help="Log in to a board that is up, or run COMMAND there, by OpenSSH's client.")
@click.argument("name", shell_complete=complete.names)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--user", default="lab", show_default=True, help="lab has sudo, guest has none, root is root.")
def ssh(name: str, command: tuple[str, ...], user: str) -> None:
    from ..errors import EnvironmentFault
    from ..lab.way import ssh_command

    call = [*ssh_command(name, user), "--", *command] if command else ssh_command(name, user)
    sys.stdout.flush()
    try:
        os.execvp(call[0], call)  # noqa: S606  # an argv list, and the terminal is the user's
    except FileNotFoundError:
        raise EnvironmentFault("no ssh here", advice="on Debian: apt-get install openssh-client") from None


@lab.command(
    help="Build images (default: all), or find them in the cache. Needs Debian's archive only where one is not."
)
@click.argument("images", nargs=-1)
@click.option("--again", is_flag=True, help="Build anew what is in the cache: with today's packages.")
@options.as_json
def build(images: tuple[str, ...], again: bool, as_json: bool) -> int:
    from ..errors import IsolbenchError
    from ..lab import images as lab_images
    from ..lab import several
    from ..lab.cache import Cache
    from ..lab.images import Image
    from ..lab.recipes import RECIPES, Recipe

    cache = Cache()
    wanted = [lab_images.recipe(name) for name in dict.fromkeys(images or RECIPES)]
    told: dict[str, Any] = {}
    codes = [0]

    def done(name: str, outcome: tuple[Image, float] | IsolbenchError) -> None:
        if isinstance(outcome, IsolbenchError):
            codes.append(outcome.exit_code)
            told[name] = {"error": str(outcome), "advice": outcome.advice}
            for line in error_lines(outcome):
                click.echo(line, err=True)
            return
        image, seconds = outcome
        kernels = {flavour: kernel.release for flavour, kernel in image.kernels.items()}
        told[name] = {"key": image.key, "root": str(image.root), "kernels": kernels, "packages": list(image.packages)}
        if not as_json:
            size = image.root.stat().st_size / 1e6
            click.echo(f"{name}: {', '.join(kernels.values())}; {size:.0f} MB, {seconds:.0f} s, {image.root}")

    def job(recipe: Recipe) -> several.Job[tuple[Image, float]]:
        def build(pause: Pause) -> tuple[Image, float]:
            began = time.monotonic()
            return lab_images.build(recipe, cache, _say, again=again, pause=pause), time.monotonic() - began

        return build

    several.side_by_side({recipe.name: job(recipe) for recipe in wanted}, done, at_once=1)
    if as_json:
        echo_json({"images": told})
    return max(codes)


@lab.command(
    help="Remove from the cache what no board is made of any more: other versions' images, builds left half-done."
)
@options.as_json
def prune(as_json: bool) -> None:
    from ..lab.cache import Cache
    from ..lab.prune import prune as prune_cache

    cache = Cache()
    pruned = prune_cache(cache)
    if as_json:
        kept = list(pruned.kept)
        echo_json({"removed": list(pruned.files), "bytes": pruned.bytes, "kept": kept, "busy": pruned.busy})
        return
    click.echo(
        f"{plural(len(pruned.files), 'file')} removed from {cache.folder}: {pruned.bytes / 1e6:.0f} MB free again"
    )
    if pruned.kept:
        click.echo(f"kept: {', '.join(pruned.kept)}")
    if pruned.busy:
        _say("an image is being built: files of old ones were left alone")


def _boards(names: tuple[str, ...], inventory: Path | None) -> list[Target]:
    """The virtual targets that are meant. Raises UserError for a name that is none."""
    from ..campaign.execution import target_of
    from ..config.inventory import load_inventory
    from ..errors import UserError

    known = load_inventory(options.inventory_path(inventory))
    if not names:
        found = [target for target in known.targets.values() if target.virtual is not None and not target.disabled]
        if not found:
            raise UserError(
                "the inventory has no virtual board",
                advice="add one: box: {virtual: {arch: x86_64, cpus: 2, memory: 1G}}",
            )
        return found
    chosen = [target_of(known, name) for name in names]
    if wrong := [target.name for target in chosen if target.virtual is None]:
        raise UserError(f"{', '.join(wrong)}: no virtual board: the inventory says how to reach it, not how to make it")
    return chosen


def _say(text: str) -> None:
    click.echo(f"isolbench: {printable(text)}", err=True)
