# SPDX-License-Identifier: Apache-2.0
"""What a shell offers after Tab: names of campaigns, executions, runs, targets and benches.

A Tab is a process of its own, and a person waits for it: nothing heavy is imported here, files are read no further
than names go, and what is broken or missing offers nothing. Names that isolbench would not accept are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from click import Context, Parameter
from click.shell_completion import CompletionItem

from ..agent.spec import SAFE_NAME
from ..errors import IsolbenchError

Complete = Callable[[Context, Parameter, str], list[CompletionItem]]

#: ``--set`` takes these beside the axes.
_SETTINGS = ("duration", "settle", "repeat", "sessions")
#: More targets than this are not offered: what has been typed so far says too little.
_MOST = 500


def campaigns(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The shipped ones, and files here."""
    shipped = _stems(_data("benches") / "campaigns")
    found = sorted(path for suffix in ("*.yaml", "*.yml") for path in Path().glob(suffix))
    here = [path.name for path in found if "campaign" in _data_of(path)]
    return [*_files(incomplete, [*shipped, *here]), *_matching(incomplete, [*shipped, *here])]


def executions(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Campaigns, which stand for their newest execution; with a slash, the executions of one, the newest first."""
    return _matching(incomplete, _executions(_results(ctx), incomplete))


def references(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The same, or a folder."""
    found = _executions(_results(ctx), incomplete)
    return [*_files(incomplete, found), *_matching(incomplete, found)]


def runs(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The runs and failed attempts of the execution that is named already, ``target/run``."""
    from ..campaign.references import find

    found: list[str] = []
    with suppress(IsolbenchError, OSError):
        execution = find(str(ctx.params.get("reference") or ""), _results(ctx))
        for kind in ("runs", "attempts"):
            for target in _folders(execution / kind):
                found += [f"{target}/{run}" for run in _folders(execution / kind / target)]
    bare = [] if "/" in incomplete else [run.partition("/")[2] for run in found]  # `show` takes them so, too
    return _matching(incomplete, found) or _matching(incomplete, bare)


def targets(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The inventory's, ranges expanded, and their tags as ``tag:NAME``."""
    names, tags = _inventory(ctx)
    return _matching(incomplete, [*names, *(f"tag:{tag}" for tag in tags)])


def names(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The inventory's targets alone."""
    return _matching(incomplete, _inventory(ctx)[0])


def pinned(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The inventory's targets that have a host key: not this machine."""
    return _matching(incomplete, [name for name in _inventory(ctx)[0] if name != "local"])


def lanes(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """The targets that an execution or a campaign's results have; without one, the inventory's."""
    from ..campaign.references import find

    found: list[str] = []
    with suppress(IsolbenchError, OSError):
        # After a value-less option click has not told the arguments apart yet.
        named = ctx.params.get("execution") or next(iter(ctx.args), "")
        execution = find(str(named), _results(ctx))
        found = [path.stem for path in sorted((execution / "lanes").glob("*.json"))]
    return _matching(incomplete, found or _inventory(ctx)[0])


def benches(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    return _matching(incomplete, _stems(_data("benches")))


def metrics(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """Those of the bench that is named already, else of all that are shipped."""
    named = ctx.params.get("bench")
    paths = [path for path in sorted(_data("benches").glob("*.yaml")) if named in (None, path.stem)]
    return _matching(incomplete, [name for path in paths for name in _mapping(_data_of(path).get("metrics"))])


def modes(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    return _matching(incomplete, _modes())


def loads(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    return _matching(incomplete, _loads())


def sets(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """``axis=``, then its values; of several with commas the last."""
    axis, equals, values = incomplete.partition("=")
    known: dict[str, Callable[[], Iterable[str]]] = {
        "bench": lambda: _stems(_data("benches")),
        "kernel": lambda: _booted(ctx, "kernels", "default"),
        "boot": lambda: _booted(ctx, "boots", "plain"),
        "mode": _modes,
        "load": lambda: [*_loads(), *_own_loads(ctx)],
        "tune": _knobs,
        "cpus": lambda: ["one", "all"],
        "control": lambda: ["true", "false"],
        "attribution": lambda: ["off", "perf"],
    }
    if not equals:
        return _matching(incomplete, [f"{name}=" for name in (*known, *_SETTINGS)])
    before, comma, _ = values.rpartition(",")
    offered = known[axis]() if axis in known else []
    return _matching(incomplete, [f"{axis}={before}{comma}{value}" for value in offered])


def virtual_arches(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    from ..config.targets import VIRTUAL_ARCHES

    return _matching(incomplete, VIRTUAL_ARCHES)


def kernels(ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
    """``NAME=``, then the shell's files: bash takes them after an equals sign by itself."""
    name, equals, path = incomplete.partition("=")
    if equals:
        return [CompletionItem(path, type="file")]
    return _matching(name, [f"{each}=" for each in _booted(ctx, "kernels", "") if each])


def _matching(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)][:_MOST]


def _files(incomplete: str, names: Iterable[str]) -> list[CompletionItem]:
    """Let the shell offer files where no name of ours begins so."""
    offered = incomplete and not any(name.startswith(incomplete) for name in names)
    return [CompletionItem(incomplete, type="file")] if offered else []


def _results(ctx: Context) -> Path:
    return Path(ctx.params.get("results") or os.environ.get("ISOLBENCH_RESULTS") or "results")


def _executions(results: Path, incomplete: str) -> list[str]:
    from ..campaign.references import executions as known

    campaign, slash, _ = incomplete.partition("/")
    if not slash:
        return [name for name in _folders(results) if known(results, name)]
    if not SAFE_NAME.fullmatch(campaign):
        return []
    return [f"{campaign}/{path.name}" for path in reversed(known(results, campaign))]


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(each.name for each in entries if SAFE_NAME.fullmatch(each.name) and each.is_dir())
    except OSError:
        return []


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml") if SAFE_NAME.fullmatch(path.stem))


def _data(name: str) -> Path:
    from ..config.data import data_dir

    try:
        return data_dir(name)
    except IsolbenchError:
        return Path(os.devnull)


def _modes() -> list[str]:
    from ..agent.modes import MODES

    return [mode.name for mode in MODES]


def _loads() -> list[str]:
    from ..agent.loads import KINDS

    return [kind for kind in KINDS if kind != "argv"]


def _own_loads(ctx: Context) -> list[str]:
    """The commands that the campaign gives a name."""
    named = str(ctx.params.get("campaign") or next(iter(ctx.args), ""))  # as for `lanes`
    shipped = _data("benches") / "campaigns" / f"{named}.yaml"
    axes = _data_of(shipped if SAFE_NAME.fullmatch(named) and shipped.is_file() else Path(named)).get("axes")
    listed = _listed(_mapping(axes).get("load"))
    return [name for each in listed for name in _mapping(each) if SAFE_NAME.fullmatch(name)]


def _knobs() -> Iterable[str]:
    from ..agent.knobs import NAMES

    return NAMES


def _data_of(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is broken."""
    from ..config.yaml import load

    with suppress(IsolbenchError):
        return load(path).data
    return {}


def _inventory(ctx: Context) -> tuple[list[str], list[str]]:
    """Names and tags. The file is read for them alone: whether the rest of it is right is another command's matter."""
    from .options import inventory_path

    given = ctx.params.get("inventory") or os.environ.get("ISOLBENCH_INVENTORY")
    path = inventory_path(Path(given) if given else None)
    data = {} if path is None else _data_of(path)
    names = [name for pattern in _mapping(data.get("targets")) for name in _expanded(pattern)]
    about = [
        data.get("defaults"),
        *(each for key in ("classes", "targets") for each in _mapping(data.get(key)).values()),
    ]
    tags = {str(tag) for each in about for tag in _listed(_mapping(each).get("tags")) if SAFE_NAME.fullmatch(str(tag))}
    return list(dict.fromkeys(["local", *names])), sorted(tags)


def _booted(ctx: Context, key: str, always: str) -> list[str]:
    """The names below ``key`` of the inventory, and the one that is always there."""
    from ..config.yaml import load
    from .options import inventory_path

    given = ctx.params.get("inventory") or os.environ.get("ISOLBENCH_INVENTORY")
    path = inventory_path(Path(given) if given else None)
    found: dict[str, Any] = {}
    if path is not None:
        with suppress(IsolbenchError):
            found = _mapping(load(path).data.get(key))
    return [always, *(name for name in map(str, found) if SAFE_NAME.fullmatch(name))]


def _expanded(pattern: str) -> Iterator[str]:
    from ..config.names import expand

    with suppress(ValueError):
        yield from (name for name in expand(pattern) if SAFE_NAME.fullmatch(name))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
