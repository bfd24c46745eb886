# SPDX-License-Identifier: Apache-2.0
"""Bench files: what is measured — a probe, its parameters, its metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializationInfo,
    ValidationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from ..errors import ConfigError
from . import accepts as taken
from . import units
from .accepts import Schema, accepts
from .data import data_dir
from .types import (
    Model,
    Name,
    Text,
    build,
    check_choice,
    choice,
    to_bool,
    to_duration,
    to_int,
    to_list,
    to_mapping,
    to_number,
    to_text,
    wrong,
    wrong_at,
)
from .yaml import load, suggest

#: The bench whose loop is the control of others.
CONTROL_BENCH = "gap"

ParamType = Literal["duration", "int", "number", "choice"]
PARAM_TYPES = ("duration", "int", "number", "choice")
Better = Literal["lower", "higher"]
BETTER = ("lower", "higher")
PARSERS: dict[str, Callable[[Any], Any]] = {
    "duration": to_duration,
    "int": to_int,
    "number": to_number,
    "choice": to_text,
}
#: Durations are ns.
Value = int | float | str
_QUANTILE = re.compile(r"p(?:100|[0-9]{1,2}(?:\.[0-9]{1,6})?)")
#: A parameter is an option of the probe (``--ring``); a metric is a key of its results, with the unit in the name.
_PARAM = re.compile(r"[a-z][a-z0-9-]{0,39}")
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")


@accepts(taken.word_like(_QUANTILE.pattern))
def to_quantile(value: Any) -> str:
    text = to_text(value)
    if not _QUANTILE.fullmatch(text):
        raise wrong(f"expected a quantile such as p99.99, found {text!r}")
    return text


Quantile = Annotated[str, BeforeValidator(to_quantile)]

_CHOICES: Schema = {
    "type": "array",
    "items": taken.word_like("[a-z][a-z0-9_-]{0,39}"),
    "minItems": 2,
    "uniqueItems": True,
}


@accepts({"anyOf": [_CHOICES, {"type": "null"}]})
def to_choices(value: Any) -> tuple[str, ...] | None:
    """Two words or more that a probe's option takes."""
    if value is None:
        return None
    words = tuple(to_text(word) for word in to_list(value))
    bad = [word for word in words if not _PARAM.fullmatch(word.replace("_", "-"))]
    if bad or len(set(words)) != len(words) or len(words) < 2:
        raise wrong(f"expected two or more different words, found {', '.join(map(repr, words))}")
    return words


def _named(pattern: re.Pattern[str]) -> Callable[[Any], dict[str, Any]]:
    @accepts(taken.keyed(pattern))
    def check(value: Any) -> dict[str, Any]:
        mapping = to_mapping(value)
        bad = [key for key in mapping if not pattern.fullmatch(key)]
        if bad:
            raise wrong_at([((key,), f"{key!r} cannot be a name here (expected {pattern.pattern})") for key in bad])
        return mapping

    return check


def _by_type(param: Schema) -> Schema:
    """What a parameter's type makes of its other keys."""
    rules = []
    for kind, parse in PARSERS.items():
        value: Schema = vars(parse)["accepts"]
        keys: Schema = {"default": value, "min": value, "max": value, "choices": {"type": "null"}}
        if kind == "choice":
            keys |= {"min": False, "max": False, "choices": _CHOICES}
        then = {"properties": keys, **({"required": ["choices"]} if kind == "choice" else {})}
        rules.append({"if": {"properties": {"type": {"const": kind}}}, "then": then})
    return {**param, "allOf": rules}


@accepts({"anyOf": [taken.text_like(_PARAM.pattern), {"type": "null"}]})
def to_option(value: Any) -> str | None:
    """The name of a probe's option, without its dashes."""
    if value is not None and not _PARAM.fullmatch(to_text(value)):
        raise wrong(f"expected the name of an option such as waker-cpu, found {value!r}")
    return value if value is None else str(value)


class Param(Model):
    """An option of the probe. Durations are kept in ns."""

    type: Annotated[ParamType, choice(PARAM_TYPES, "type")]
    choices: Annotated[tuple[str, ...] | None, BeforeValidator(to_choices)] = None  # of a choice, and only of one
    default: Any
    min: Any = None
    max: Any = None
    description: Text | None = None

    @field_validator("default", "min", "max", mode="before")
    @classmethod
    @accepts({})
    def _typed(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("type")
        return None if kind is None else PARSERS[kind](value)  # a wrong type is reported by itself

    @model_validator(mode="after")
    @accepts(_by_type)
    def _within(self) -> Param:
        if self.type == "choice" and self.choices is None:
            raise wrong("a choice needs its choices: [a, b]")
        for key in ("min", "max") if self.type == "choice" else ("choices",):
            if getattr(self, key) is not None:
                raise wrong_at([((key,), f"not for the type {self.type!r}")])
        if self.min is not None and self.max is not None and self.max < self.min:
            raise wrong_at([(("max",), "less than min")])
        try:
            self.parse(self.default)
        except ValueError as error:
            raise wrong_at([(("default",), str(error))]) from None
        return self

    @field_serializer("default", "min", "max")
    def _as_written(self, value: Any, _info: SerializationInfo) -> Any:
        return units.format_duration(value) if self.type == "duration" and value is not None else value

    def parse(self, value: Any) -> Value:
        """``value`` as the campaign gives it, checked against type and bounds, or against the choices."""
        if self.choices is not None:
            return check_choice(value, self.choices, "choice")
        number: int | float = PARSERS[self.type](value)
        for bound, beyond, word in ((self.min, -1, "less than the minimum"), (self.max, 1, "more than the maximum")):
            if bound is not None and (number - bound) * beyond > 0:
                raise wrong(f"{self.option(number)} is {word}, {self.option(bound)}")
        return number

    def option(self, value: Value) -> str:
        """``value`` as the probe's command line takes it: ``1000ns``, ``2``, ``0.5``, ``timerfd``."""
        if isinstance(value, str):
            return value
        return f"{value}ns" if self.type == "duration" else repr(value)


class Metric(Model):
    """``gate`` is the quantile that comparisons are decided on. A metric that has one is a histogram; one without is a
    single number per run. ``sample`` says what one value of a histogram is of: ``interval``, ``wake-up``."""

    better: Annotated[Better, choice(BETTER, "direction")]
    gate: Quantile | None = None
    sample: Text | None = None
    description: Text | None = None


@accepts({"enum": [True, False, "always"]})
def to_attributes(value: Any) -> bool | str:
    return "always" if value == "always" else to_bool(value)


class Bench(Model):
    """``name`` is the file's."""

    name: Name
    probe: Name
    description: Text | None = None
    params: Annotated[dict[str, Param], BeforeValidator(_named(_PARAM)), Field(default_factory=dict)]
    metrics: Annotated[dict[str, Metric], BeforeValidator(_named(_METRIC))]
    helper: Annotated[str | None, BeforeValidator(to_option)] = None  # the option for the CPU of the probe's helper
    #: It never sleeps: SCHED_DEADLINE would throttle it in each period.
    polls: Annotated[bool, BeforeValidator(to_bool)] = False

    #: It can find out what caused what it measures; ``always``: it does, whether or not a campaign asks for it.
    attributes: Annotated[bool | Literal["always"], BeforeValidator(to_attributes)] = False

    @model_validator(mode="after")
    def _helper_is_no_parameter(self) -> Bench:
        if self.helper in self.params:
            what = f"{self.helper!r} is a parameter: the helper's CPU is chosen by the placement"
            raise wrong_at([(("helper",), what)])
        return self

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """The parameters ``given`` that differ from their defaults, typed; errors stand at each parameter."""
        problems: list[tuple[tuple[int | str, ...], str]] = []
        values: dict[str, Value] = {}
        for name, raw in given.items():
            param = self.params.get(name)
            if param is None:
                problems.append(((name,), f"bench {self.name!r} has no such parameter{suggest(name, self.params)}"))
                continue
            try:
                value = param.parse(raw)
            except ValueError as error:
                problems.append(((name,), str(error)))
                continue
            if value != param.default:
                values[name] = value
        if problems:
            raise wrong_at(problems)
        return dict(sorted(values.items()))

    def options(self, asked: Mapping[str, Value]) -> dict[str, str]:
        """All parameters, ``asked`` over the defaults, as the probe's options."""
        return {name: param.option(asked.get(name, param.default)) for name, param in sorted(self.params.items())}


def read_bench(path: Path) -> Bench:
    """The bench in the file ``path``."""
    document = load(path)
    data = document.data
    if "name" in data:
        raise ConfigError([document.problem(("name",), "unknown key: a bench is named by its file", key=True)])
    return build(Bench, document, data={**data, "name": path.stem})


def _candidates(beside: Path | None) -> Iterator[Path]:
    if beside is not None:
        yield beside.parent
        yield beside.parent.parent
    yield data_dir("benches")


def find_bench(name: str, *, beside: Path | None = None) -> Path | None:
    """The file of bench ``name``: in the folder of the campaign ``beside``, in the one above, or a shipped one.

    A campaign may be called like the bench that it runs, so a file with the key ``campaign`` is passed over.
    """
    for folder in _candidates(beside):
        path = folder / f"{name}.yaml"
        if path.is_file() and not _is_campaign(path):
            return path
    return None


def _is_campaign(path: Path) -> bool:
    try:
        data = load(path).data
    except ConfigError:
        return False  # broken: read_bench says how
    return "campaign" in data and "probe" not in data


def known_benches(beside: Path | None = None) -> list[str]:
    """The names that :func:`find_bench` finds."""
    found = {path.stem for folder in _candidates(beside) for path in folder.glob("*.yaml") if not _is_campaign(path)}
    return sorted(found)


def load_bench(name: str, *, beside: Path | None = None) -> Bench:
    """The bench ``name``; :class:`ConfigError` if there is none or its file has errors."""
    path = find_bench(name, beside=beside)
    if path is None:
        raise ConfigError([f"unknown bench {name!r}{suggest(name, known_benches(beside))}"])
    return read_bench(path)
