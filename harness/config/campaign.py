# SPDX-License-Identifier: Apache-2.0
"""Campaign files: a matrix of benches, modes and loads over targets, and how it is carried out."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ..agent.knobs import MEDDLERS
from ..agent.knobs import NAMES as KNOBS
from ..agent.spec import ATTRIBUTIONS, LoadSpec, ModeSpec
from ..errors import ConfigError
from .accepts import DURATION, LINE, NAME, NUMBER, Schema, accepts, nonempty, one_of
from .bench import Bench, Quantile, find_bench, known_benches, read_bench
from .data import data_dir
from .kernels import DEFAULT_KERNEL, PLAIN_BOOT
from .modes import LOADS, MODES, Load, Mode, to_mode
from .origin import Origin
from .types import (
    Duration,
    Line,
    Model,
    Name,
    Percent,
    Text,
    TimeOfDay,
    at_least,
    check_choice,
    duration_within,
    problems,
    to_bool,
    to_duration,
    to_line,
    to_list,
    to_mapping,
    to_nonempty_list,
    to_number,
    to_text,
    wrong,
    wrong_at,
)
from .units import UNITS_NS
from .yaml import Document, Loc, Plain, load, suggest

DEFAULT_SETTLE_NS = 1_000_000_000
#: The agent takes no more: a run longer than a week, or that settles for longer than a day, is a typing error.
MAX_SETTLE_NS = 24 * UNITS_NS["h"]
MIN_DURATION_NS, MAX_DURATION_NS = UNITS_NS["ms"], 7 * 24 * UNITS_NS["h"]
#: Repeats are counted over the whole execution, and the count is part of a folder's name.
MAX_RUNS_PER_CELL = 99_999
#: Campaigns that commands make without a file, and which do: a file's of that name would lie among theirs.
COMMANDS = {"doctor": "isolbench doctor", "sensitivity": "isolbench doctor --sensitivity"}

Patterns = tuple[Line, ...]


def _unique(inner: Schema) -> Schema:
    return {**inner, "uniqueItems": True}


#: How many of a target's isolated CPUs are measured, at once.
Cpus = Literal["one", "all"]
CPUS = ("one", "all")
#: What causes are found by: the agent's ATTRIBUTIONS.
Attribution = Literal["off", "perf"]


@accepts({"anyOf": [LINE, nonempty({"type": "array", "items": LINE})]})
def _patterns(value: Any) -> tuple[Any, ...]:
    return to_nonempty_list(value) if isinstance(value, list | tuple) else (to_line(value),)


class BenchUse(Model):
    """A bench of the campaign. ``params``: only what differs from the bench's defaults, typed (durations in ns)."""

    bench: Name
    params: Annotated[dict[str, Any], BeforeValidator(to_mapping), Field(default_factory=dict, validate_default=True)]

    @model_validator(mode="before")
    @classmethod
    @accepts(lambda inner: {"anyOf": [NAME, inner]})
    def _short(cls, value: Any) -> Any:
        return {"bench": value} if not isinstance(value, Mapping) else value

    @field_validator("bench", mode="after")
    @classmethod
    def _known(cls, value: str, info: ValidationInfo) -> str:
        _shelf(info)(value)
        return value

    @field_validator("params", mode="after")
    @classmethod
    def _typed(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        name = info.data.get("bench")
        return value if name is None else _shelf(info)(name).resolve(value)


def _shelf(info: ValidationInfo) -> Callable[[str], Bench]:
    assert info.context is not None, "a campaign is read with its benches as the context"
    lookup: Callable[[str], Bench] = info.context
    return lookup


def _no_name_twice(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = [(index, name) for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise wrong_at([((index,), f"{name!r} is listed twice") for index, name in twice])
    return names


class Axes(Model):
    """``kernel`` and ``boot`` are names of the inventory. A campaign that names either boots its targets."""

    kernel: Annotated[tuple[Name, ...] | None, BeforeValidator(to_nonempty_list)] = None
    boot: Annotated[tuple[Name, ...] | None, BeforeValidator(to_nonempty_list)] = None
    mode: Annotated[tuple[Mode, ...], BeforeValidator(to_nonempty_list)] = (to_mode("shared"),)
    load: Annotated[tuple[Load, ...], BeforeValidator(to_nonempty_list)] = (LoadSpec("idle"),)

    @field_validator("mode", "load", mode="after")
    @classmethod
    @accepts(_unique)
    def _once(cls, values: tuple[ModeSpec | LoadSpec, ...]) -> tuple[ModeSpec | LoadSpec, ...]:
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value.name in seen:
                raise wrong_at([((index,), f"{value.name!r} is listed twice")])
            seen.add(value.name)
        return values

    @field_validator("kernel", "boot", mode="after")
    @classmethod
    @accepts(_unique)
    def _names_once(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if values is None else _no_name_twice(values)

    @property
    def boots(self) -> bool:
        """Whether targets are booted: each session then begins with a boot of its own."""
        return self.kernel is not None or self.boot is not None

    @property
    def kernels(self) -> tuple[str, ...]:
        return self.kernel or (DEFAULT_KERNEL,)

    @property
    def profiles(self) -> tuple[str, ...]:
        return self.boot or (PLAIN_BOOT,)


class Selector(Model):
    """Cells by name: each key takes a name, a glob, or a list of them; ``target`` also ``tag:NAME``. All must match."""

    target: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    bench: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    mode: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    load: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    kernel: Annotated[Patterns | None, BeforeValidator(_patterns)] = None
    boot: Annotated[Patterns | None, BeforeValidator(_patterns)] = None

    @model_validator(mode="after")
    @accepts(lambda inner: {**inner, "minProperties": 1})
    def _not_empty(self) -> Selector:
        if not self.model_fields_set:
            raise wrong("names none of target, bench, mode, load, kernel, boot")
        return self


class Retry(Model):
    """How often a run is tried again, by what went wrong."""

    infrastructure: Annotated[int, BeforeValidator(at_least(0, 100))] = 2
    invalid: Annotated[int, BeforeValidator(at_least(0, 100))] = 1


#: Also what ``--set`` is held to.
to_settle = duration_within(0, MAX_SETTLE_NS)
to_run_duration = duration_within(MIN_DURATION_NS, MAX_DURATION_NS)
to_repeat = at_least(1, MAX_RUNS_PER_CELL)
to_sessions = at_least(1, 1000)


@accepts(one_of(CPUS))
def to_cpus(value: Any) -> str:
    return check_choice(value, CPUS, "value")


@accepts(one_of(ATTRIBUTIONS))
def to_attribution(value: Any) -> str:
    return check_choice(value, ATTRIBUTIONS, "value")


@accepts(one_of(KNOBS))
def to_knob(value: Any) -> str:
    name = to_text(value)
    if any(name in (unit, unit.partition(".")[0]) for unit in MEDDLERS):
        raise wrong(f"{name!r} is no knob: services stops it, with the others that meddle")
    if name not in KNOBS:
        raise wrong(f"unknown knob {name!r}{suggest(name, KNOBS, most=len(KNOBS))}")
    return name


@accepts({"anyOf": [NUMBER, DURATION, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"}]})
def _to_limit(value: Any) -> str:
    """The text, kept as written: which of the two it has to be is decided by the metric."""
    text = to_line(value)
    try:
        to_number(Plain(text))
    except ValueError:
        to_duration(text)
    return text


class Budget(Model):
    """A metric's limit. ``limit`` is in the metric's own unit (ns for durations)."""

    bench: Name
    metric: Line
    quantile: Quantile | None = None
    at_most: Annotated[str, BeforeValidator(_to_limit)]

    @property
    def is_duration(self) -> bool:
        return self.at_most[-1:].isalpha()

    @property
    def limit(self) -> float:
        return float(to_duration(self.at_most)) if self.is_duration else to_number(Plain(self.at_most))


class Campaign(Model):
    """A campaign file, checked. Durations in ns; ``quorum_percent`` 0 to 100."""

    name: Name = Field(alias="campaign", max_length=64, json_schema_extra={"not": {"enum": [*COMMANDS]}})
    description: Text | None = None
    targets: Annotated[Patterns, BeforeValidator(to_nonempty_list)]
    benches: Annotated[tuple[BenchUse, ...], BeforeValidator(to_nonempty_list)]
    axes: Axes = Axes()
    include: Annotated[tuple[Selector, ...], BeforeValidator(to_list)] = ()
    exclude: Annotated[tuple[Selector, ...], BeforeValidator(to_list)] = ()
    settle_ns: Annotated[Duration, BeforeValidator(to_settle)] = Field(DEFAULT_SETTLE_NS, alias="settle")
    duration_ns: Annotated[Duration, BeforeValidator(to_run_duration)] = Field(alias="duration")
    cpus: Annotated[Cpus, BeforeValidator(to_cpus)] = "one"
    control: Annotated[bool, BeforeValidator(to_bool)] = False
    attribution: Annotated[Attribution, BeforeValidator(to_attribution)] = "off"
    tune: Annotated[tuple[Annotated[str, BeforeValidator(to_knob)], ...], BeforeValidator(to_list)] = ()
    sessions: Annotated[int, BeforeValidator(to_sessions)] = 1
    repeat: Annotated[int, BeforeValidator(to_repeat)] = 1
    until: TimeOfDay | None = None
    retry: Retry = Retry()
    quorum_percent: Percent = Field(100.0, alias="quorum")
    budgets: Annotated[tuple[Budget, ...], BeforeValidator(to_list)] = ()

    _definitions: dict[str, Bench] = PrivateAttr(default_factory=dict)
    _origin: Origin = PrivateAttr(default=Origin())

    @field_validator("tune", mode="after")
    @classmethod
    @accepts(_unique)
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _no_name_twice(names)

    @property
    def definitions(self) -> dict[str, Bench]:
        """The benches that :attr:`benches` names, by name."""
        return self._definitions

    def problem(self, loc: Loc, what: str) -> str:
        """``what`` is wrong with the part at ``loc``, in one line, with the place where it was written."""
        return self._origin.problem(loc, what)

    def with_sets(self, fields: Mapping[str, Any], keys: Iterable[str]) -> Campaign:
        """A copy with other ``fields``, because ``--set`` asked for ``keys``."""
        changed = self.model_copy(update=fields)
        changed._origin = replace(self._origin, sets=self._origin.sets | set(keys))
        return changed

    def to_yaml_data(self) -> dict[str, Any]:
        """Plain data with the keys and spellings of the file."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _taken(campaign: Campaign) -> list[tuple[tuple[int | str, ...], str]]:
    if campaign.name not in COMMANDS:
        return []
    return [(("campaign",), f"{campaign.name!r} is what {COMMANDS[campaign.name]} calls its own: choose another name")]


def check(campaign: Campaign, benches: Mapping[str, Bench]) -> list[tuple[tuple[int | str, ...], str]]:
    """What only shows when the parts are seen together: (path, what)."""
    found: list[tuple[tuple[int | str, ...], str]] = []
    if campaign.repeat * campaign.sessions > MAX_RUNS_PER_CELL:
        found.append((("repeat",), f"repeat × sessions is more than {MAX_RUNS_PER_CELL}"))
    names = {
        "bench": [use.bench for use in campaign.benches],
        "mode": [*(mode.name for mode in campaign.axes.mode), *MODES],
        "load": [*(each.name for each in campaign.axes.load), *LOADS],
        "kernel": [*campaign.axes.kernels, DEFAULT_KERNEL],
        "boot": [*campaign.axes.profiles, PLAIN_BOOT],
    }
    for kind in ("include", "exclude"):
        for index, selector in enumerate(getattr(campaign, kind)):
            for axis, known in names.items():
                for pattern in getattr(selector, axis) or ():
                    if not fnmatch.filter(known, pattern):
                        found.append(((kind, index, axis), f"no {axis} is called {pattern!r}{suggest(pattern, known)}"))
    for index, budget in enumerate(campaign.budgets):
        found += [(("budgets", index, *loc), what) for loc, what in _check_budget(budget, names["bench"], benches)]
    return found


def _check_budget(budget: Budget, used: list[str], benches: Mapping[str, Bench]) -> list[tuple[tuple[str, ...], str]]:
    if budget.bench not in used:
        return [(("bench",), f"{budget.bench!r} is no bench of this campaign{suggest(budget.bench, used)}")]
    metrics = benches[budget.bench].metrics
    metric = metrics.get(budget.metric)
    if metric is None:
        what = f"bench {budget.bench!r} has no metric {budget.metric!r}{suggest(budget.metric, metrics)}"
        return [(("metric",), what)]
    found: list[tuple[tuple[str, ...], str]] = []
    if metric.gate is not None and budget.quantile is None:
        found.append(((), f"{budget.metric} is a histogram: say which quantile"))
    if metric.gate is None and budget.quantile is not None:
        found.append((("quantile",), f"{budget.metric} is one number per run: it has no quantiles"))
    if budget.metric.endswith("_ns") != budget.is_duration:
        kind = "a duration such as 20us" if budget.metric.endswith("_ns") else "a number"
        found.append((("at_most",), f"{budget.metric}: expected {kind}, found {budget.at_most!r}"))
    return found


class _Shelf:
    """Benches by name, each file read once. A broken file's own problems are kept, beside the campaign's."""

    def __init__(self, beside: Path) -> None:
        self.beside = beside
        self.found: dict[str, Bench | None] = {}
        self.problems: list[str] = []

    def __call__(self, name: str) -> Bench:
        if name not in self.found:
            path = find_bench(name, beside=self.beside)
            if path is None:
                raise wrong(f"unknown bench {name!r}{suggest(name, known_benches(self.beside))}")
            try:
                self.found[name] = read_bench(path)
            except ConfigError as error:
                self.problems += error.problems
                self.found[name] = None
        bench = self.found[name]
        if bench is None:
            raise wrong(f"the file of bench {name!r} has errors")
        return bench


def load_campaign(path: Path) -> Campaign:
    """The campaign in the file ``path``, its benches loaded and checked against."""
    return _from_document(load(path), path)


def _from_document(document: Document, path: Path) -> Campaign:
    """Checked part by part, then as a whole; where parts are wrong, the whole of the others."""
    shelf = _Shelf(path)
    found: list[tuple[tuple[int, int], str]] = []
    kept: dict[str, list[int]] = {}
    campaign: Campaign | None
    try:
        campaign = Campaign.model_validate(document.data, context=shelf)
    except ValidationError as error:
        found = problems(error, document, Campaign)
        campaign, kept = _sound_part(document.data, error, shelf)
    benches = {name: bench for name, bench in shelf.found.items() if bench is not None}
    for loc, what in [*_taken(campaign), *check(campaign, benches)] if campaign is not None else ():
        listed = kept.get(str(loc[0]))
        if listed is not None:
            loc = (loc[0], listed[int(loc[1])], *loc[2:])
        loc = document.nearest(loc)
        found.append((document.position(loc), document.problem(loc, what)))
    if found or campaign is None:
        raise ConfigError([text for _, text in sorted(found, key=lambda item: item[0])] + shelf.problems)
    campaign._definitions.update(benches)
    campaign._origin = Origin(document)
    return campaign


def _sound_part(
    data: Mapping[str, Any], error: ValidationError, shelf: _Shelf
) -> tuple[Campaign | None, dict[str, list[int]]]:
    """``data`` without what ``error`` names, and of each shortened list the places that its items had.

    None where what is left cannot be looked at: without its benches a campaign means nothing.
    """
    places = [item["loc"] for item in error.errors(include_url=False)]
    bad = {tuple(loc[:2]) for loc in places}
    wrong_keys = {loc[0] for loc in bad}
    if all(loc[2:3] == ("params",) for loc in places if loc[0] == "benches"):  # only the parameters are: look past them
        data = {**data, "benches": [_plain_use(use) for use in _as_list(data.get("benches"))]}
        wrong_keys -= {"benches"}
    if "benches" in wrong_keys:
        return None, {}
    rest: dict[str, Any] = {"campaign": "unnamed", "targets": ["unnamed"], "duration": "1s"}
    kept: dict[str, list[int]] = {}
    for key, value in data.items():
        if key not in wrong_keys:
            rest[key] = value
        elif key in ("include", "exclude", "budgets") and isinstance(value, list) and (key,) not in bad:
            kept[key] = [index for index in range(len(value)) if (key, index) not in bad]
            rest[key] = [value[index] for index in kept[key]]
    if "axes" in wrong_keys:
        rest = {key: value for key, value in rest.items() if key not in ("include", "exclude")}
    try:
        return Campaign.model_validate(rest, context=shelf), kept
    except ValidationError:
        return None, {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain_use(use: Any) -> Any:
    return {key: value for key, value in use.items() if key != "params"} if isinstance(use, dict) else use


def campaign_from_data(data: Any, benches: Mapping[str, Bench]) -> Campaign:
    """What :meth:`Campaign.to_yaml_data` gave, with the benches of that time; else pydantic's ValidationError."""

    def lookup(name: str) -> Bench:
        if name not in benches:
            raise wrong(f"unknown bench {name!r}")
        return benches[name]

    campaign = Campaign.model_validate(data, context=lookup)
    campaign._definitions.update(benches)
    return campaign


def find_campaign(name: str) -> Path:
    """``name`` as a path, else as the name of a shipped campaign."""
    path = Path(name)
    if path.exists() or "/" in name or path.suffix in (".yaml", ".yml"):
        return path
    folder = data_dir("benches") / "campaigns"
    shipped = folder / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    beside = next((file for file in (Path(f"{name}.yaml"), Path(f"{name}.yml")) if file.is_file()), None)
    near = suggest(name, known_campaigns()) if beside is None else f"; did you mean {str(beside)!r}?"
    raise ConfigError([f"no campaign {name!r}: no such file, and none shipped{near}"])


def known_campaigns() -> list[str]:
    """The names of the shipped campaigns."""
    return sorted(path.stem for path in (data_dir("benches") / "campaigns").glob("*.yaml"))
