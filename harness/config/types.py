# SPDX-License-Identifier: Apache-2.0
"""The field types of the configuration models, and how a pydantic error becomes ``file:line:column: path: what``.

Two kinds of data come in. From YAML, every scalar is text (:class:`~harness.config.yaml.Plain` where unquoted). From
JSON that we wrote ourselves (``plan.json``), numbers are numbers. A number in quotes is text, and so an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..agent.spec import SAFE_NAME
from ..errors import ConfigError
from . import accepts as taken
from . import units
from .accepts import accepts
from .yaml import Document, Loc, Plain, describe, suggest

M = TypeVar("M", bound=BaseModel)

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?")
#: What YAML 1.1 reads as a truth: nobody means it as a reason.
YAML_BOOLS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false"))


class Model(BaseModel):
    """Frozen, strict, and without room for a key that nobody reads."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", arbitrary_types_allowed=True)


def wrong(what: str) -> PydanticCustomError:
    """An error whose message is ``what`` and nothing else."""
    return PydanticCustomError("isolbench", "{what}", {"what": what})


def wrong_at(problems: Iterable[tuple[Loc, str]]) -> ValidationError:
    """Errors below the value at hand, each at its own place."""
    details = [InitErrorDetails(type=wrong(what), loc=loc, input=None) for loc, what in problems]
    return ValidationError.from_exception_data("isolbench", details)


@accepts(taken.TEXT)
def to_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise wrong(f"expected text, found {describe(value)}")
    return str(value)


@accepts(taken.LINE)
def to_line(value: Any) -> str:
    text = to_text(value)
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise wrong("expected text in one line")
    return text


@accepts(taken.NAME)
def to_name(value: Any) -> str:
    text = to_text(value)
    if not SAFE_NAME.fullmatch(text):
        raise wrong(
            f"{text!r} cannot be a name: letters, digits and . _ + - only, a letter or digit first, 120 at most"
        )
    return text


@accepts(taken.whole())
def to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Plain) and _INTEGER.fullmatch(value):
        return int(value)
    hint = " (an octal number to some: write it without the leading 0)" if _octal(value) else ""
    raise wrong(f"expected a whole number, found {describe(value)}{hint}")


def _octal(value: Any) -> bool:
    return isinstance(value, Plain) and re.fullmatch(r"-?0[0-9]+", value) is not None


@accepts(taken.NUMBER)
def to_number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, Plain) and _NUMBER.fullmatch(value) and math.isfinite(float(value)):
        return float(value)
    raise wrong(f"expected a number, found {describe(value)}")


@accepts({"type": "boolean"})
def to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Plain) and value in ("true", "false"):
        return value == "true"
    raise wrong(f"expected true or false, found {describe(value)}")


def _from_units(parse: Callable[[str], Any], kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, kind) and not isinstance(value, bool):
            return value
        try:
            return parse(to_line(value))
        except ValueError as error:
            if isinstance(error, PydanticCustomError):
                raise
            raise wrong(str(error)) from None

    return convert


to_duration = accepts(taken.DURATION)(_from_units(units.parse_duration, int))
to_percent = accepts(taken.PERCENT)(_from_units(units.parse_percent, float))


def duration_within(low_ns: int, high_ns: int) -> Callable[[Any], int]:
    @accepts(taken.DURATION)
    def check(value: Any) -> int:
        found: int = to_duration(value)
        if not low_ns <= found <= high_ns:
            low, high, given = map(units.format_duration, (low_ns, high_ns, found))
            raise wrong(f"expected {low} to {high}, found {given}")
        return found

    return check


@accepts(taken.TIME_OF_DAY)
def to_time(value: Any) -> str:
    text = to_text(value)
    if not _TIME.fullmatch(text):
        raise wrong(f"expected a time of day such as 06:30, found {describe(value)}")
    return text


@accepts(lambda inner: inner)
def to_list(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(value)
    raise wrong(f"expected a list, found {describe(value)}")


@accepts(taken.nonempty)
def to_nonempty_list(value: Any) -> tuple[Any, ...]:
    items = to_list(value)
    if not items:
        raise wrong("the list is empty")
    return items


@accepts(lambda inner: inner)
def to_mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise wrong(f"expected 'key: value' lines, found {describe(value)}")


def at_least(minimum: int, maximum: int) -> Callable[[int], int]:
    @accepts(taken.whole(minimum, maximum))
    def check(value: Any) -> int:
        number = to_int(value)
        if not minimum <= number <= maximum:
            raise wrong(f"expected {minimum} to {maximum}, found {number}")
        return number

    return check


def check_choice(value: Any, known: Sequence[str], what: str) -> str:
    text = to_text(value)
    if text not in known:
        raise wrong(f"unknown {what} {text!r}{suggest(text, known)}")
    return text


def choice(known: Sequence[str], what: str) -> BeforeValidator:
    """One of the words ``known``; ``what`` they are, for errors."""

    @accepts(taken.one_of(known))
    def check(value: Any) -> str:
        return check_choice(value, known, what)

    return BeforeValidator(check)


Text = Annotated[str, BeforeValidator(to_text)]
Line = Annotated[str, BeforeValidator(to_line)]
Name = Annotated[str, BeforeValidator(to_name)]
Duration = Annotated[int, BeforeValidator(to_duration), PlainSerializer(units.format_duration, return_type=str)]
Percent = Annotated[float, BeforeValidator(to_percent), PlainSerializer(units.format_percent, return_type=str)]
TimeOfDay = Annotated[str, BeforeValidator(to_time)]


def build(model: type[M], document: Document, *, data: Any = None, at: Loc = (), context: Any = None) -> M:
    """``model`` from ``document`` (or from ``data``, the part of it at ``at``); all problems at once as ConfigError."""
    try:
        return model.model_validate(document.data if data is None else data, context=context)
    except ValidationError as error:
        raise ConfigError([text for _, text in problems(error, document, model, at)]) from None


def problems(
    error: ValidationError, document: Document, model: type[BaseModel], at: Loc = ()
) -> list[tuple[tuple[int, int], str]]:
    """Each error of ``error`` as its position and one line, in the order of the file."""
    lines: list[tuple[tuple[int, int], str]] = []
    for item in error.errors(include_url=False):
        loc = at + tuple(item["loc"])
        unknown = item["type"] in ("extra_forbidden", "unknown_key")
        if item["type"] == "missing":
            loc, what = loc[:-1], f"missing key {str(loc[-1])!r}"
        elif item["type"] == "extra_forbidden":
            what = f"unknown key{suggest(str(loc[-1]), keys_of(model, item['loc'][:-1]))}"
        elif item["type"] in ("model_type", "model_attributes_type", "dict_type"):
            what = f"expected 'key: value' lines, found {describe(item['input'])}"
        else:
            what = item["msg"]
        loc = document.nearest(loc)
        lines.append((document.position(loc, key=unknown), document.problem(loc, what, key=unknown)))
    return sorted(lines, key=lambda line: line[0])


def nested(model: type[M], value: Any) -> M:
    """``model`` from a part that a validator looks at by itself, with the suggestions that :func:`problems` gives."""
    try:
        return model.model_validate(to_mapping(value))
    except ValidationError as error:
        details = []
        for item in error.errors(include_url=False):
            kind: PydanticCustomError | str = item["type"]
            if kind == "extra_forbidden":
                what = f"unknown key{suggest(str(item['loc'][-1]), keys_of(model, item['loc'][:-1]))}"
                kind = PydanticCustomError("unknown_key", "{what}", {"what": what})
            elif kind == "isolbench":
                kind = wrong(item["msg"])
            details.append(InitErrorDetails(type=kind, loc=item["loc"], input=item["input"]))
        raise ValidationError.from_exception_data("isolbench", details) from None


def keys_of(model: type[BaseModel], loc: Loc = ()) -> list[str]:
    """The YAML keys that the (nested) model at ``loc`` knows."""
    current: type[BaseModel] = model
    for step in loc:
        if isinstance(step, int):
            continue
        for name, info in current.model_fields.items():
            if (info.alias or name) == step:
                nested = _model_in(info.annotation)
                if nested is not None:
                    current = nested
    return [info.alias or name for name, info in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
