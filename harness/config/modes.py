# SPDX-License-Identifier: Apache-2.0
"""Modes and loads as YAML spells them, turned into what the agent knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from ..agent import loads, modes
from ..agent.modes import sched as policies
from ..agent.modes.base import HOLDS, SCHEDS, WHERES
from ..agent.spec import LoadSpec, ModeSpec, SpecError
from .accepts import NAME, TEXT, Schema, accepts, one_of, word_like
from .types import Line, Model, nested, to_line, to_name, to_nonempty_list, to_text, wrong, wrong_at
from .yaml import Loc, describe, suggest

#: The names of the modes and loads that isolbench brings.
MODES: tuple[str, ...] = tuple(mode.name for mode in modes.MODES)
LOADS: tuple[str, ...] = loads.NAMES


_FIFO = word_like(policies.FIFO)
_DEADLINE = word_like(policies.DEADLINE)
_COMPOSED: Schema = {
    "type": "object",
    "properties": {
        "where": one_of(WHERES),
        "sched": {"anyOf": [one_of([*SCHEDS, "fifo"]), _FIFO, _DEADLINE]},
        "hold": one_of(HOLDS),
    },
    "additionalProperties": False,
}
_COMMAND: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": NAME["pattern"], "not": one_of(LOADS)},
    "additionalProperties": {
        "type": "array",
        "minItems": 1,
        "prefixItems": [TEXT],
        "items": {"type": TEXT["type"]},
    },
}


class _Composed(Model):
    where: Line = "shared"
    sched: Line = "other"
    hold: Line = "none"


@accepts({"anyOf": [one_of(MODES), _FIFO, _DEADLINE, _COMPOSED]})
def to_mode(value: Any) -> ModeSpec:
    """A shipped name, ``fifo:N``, ``deadline:RUNTIME/PERIOD``, or ``{where, sched, hold}``.

    A composed one is named by its parts.
    """
    if isinstance(value, ModeSpec):
        return value
    try:
        if isinstance(value, Mapping):
            parts = nested(_Composed, value)
            if bad := list(_wrong_parts(parts)):
                raise wrong_at(bad)
            return modes.resolve(parts.where, parts.sched, parts.hold).to_spec()
        name = to_line(value)
        if name not in MODES and ":" not in name:
            raise wrong(f"unknown mode {name!r}{suggest(name, MODES)}")
        return modes.from_name(name).to_spec()
    except SpecError as error:
        raise wrong(str(error)) from None


def _wrong_parts(parts: _Composed) -> Iterator[tuple[Loc, str]]:
    """Each part that there is not, with what there is."""
    for part, known in (("where", WHERES), ("sched", (*SCHEDS, "fifo", "deadline")), ("hold", HOLDS)):
        word = getattr(parts, part)
        try:
            modes.resolve(**{part: word})
        except SpecError as error:
            if word.startswith("deadline:"):  # its durations are wrong, not its name
                yield (part,), str(error)
                continue
            more = " (also fifo:1 to fifo:99, deadline:RUNTIME/PERIOD)" if part == "sched" else ""
            yield (part,), f"unknown {part} {word!r}{more}{suggest(word, known)}"


def from_mode(mode: ModeSpec) -> str | dict[str, str]:
    """What :func:`to_mode` reads back."""
    if mode.name in MODES:
        return mode.name
    if mode.name == policies.word(mode.sched):
        return mode.sched
    return {"where": mode.where, "sched": mode.sched, "hold": mode.hold}


@accepts({"anyOf": [one_of(LOADS), _COMMAND]})
def to_load(value: Any) -> LoadSpec:
    """The name of a load that isolbench brings, or ``{name: [argv…]}``."""
    if isinstance(value, LoadSpec):
        return value
    if not isinstance(value, Mapping):
        name = to_line(value)
        if name not in LOADS:
            near = suggest(name, LOADS)
            hint = "" if near.startswith(";") else "; a command is written {name: [argv…]}"
            raise wrong(f"unknown load {name!r}{near}{hint}")
        return LoadSpec(name, name)
    if len(value) != 1:
        raise wrong(f"expected one name and its command, {{name: [argv…]}}, found {len(value)} names")
    [(key, raw)] = value.items()
    name = to_name(key)
    if name in LOADS:
        raise wrong(f"{name!r} is a load that isolbench brings: choose another name")
    if isinstance(raw, str) and raw.strip():
        words = ", ".join(raw.split())
        raise wrong_at([((name,), f"a command is a list of its arguments, no shell reads it: {{{name}: [{words}]}}")])
    argv = to_nonempty_list(raw)
    bad = []
    for index, part in enumerate(argv):
        if not isinstance(part, str):
            bad.append(((name, index), f"expected text, found {describe(part)}"))
        elif "\0" in part:
            bad.append(((name, index), "a NUL in an argument"))
    if bad:
        raise wrong_at(bad)
    to_text(argv[0])
    return LoadSpec(name, "argv", [str(part) for part in argv])


def from_load(load: LoadSpec) -> str | dict[str, list[str]]:
    """What :func:`to_load` reads back."""
    return {load.name: list(load.argv)} if load.kind == "argv" else load.name


Mode = Annotated[ModeSpec, PlainValidator(to_mode), PlainSerializer(from_mode)]
Load = Annotated[LoadSpec, PlainValidator(to_load), PlainSerializer(from_load)]
