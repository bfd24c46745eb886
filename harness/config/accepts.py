# SPDX-License-Identifier: Apache-2.0
"""What YAML a reader takes, said beside the reader: JSON Schema made from the models is then true to the files.

The models say what becomes of a value (ns, a :class:`ModeSpec`); a file says ``10s`` and ``fifo:50``. So each function
that reads a value carries the schema of what it takes, and :class:`YamlSchema` asks the function, not the type.

The schemas speak of values as YAML 1.2 has them, which is what editors and validators look at: ``6.10`` is a number
there, although for us it is the text "6.10". Where text is wanted, a number and a truth value will therefore do. What
a schema cannot say (that a bench exists, that a duration is not too long) it leaves to the reader: it takes all that
the reader takes, and refuses most of the rest.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ..agent.spec import SAFE_NAME
from .units import MAX_CPUS, UNITS_NS

Schema = dict[str, Any]
#: A schema, or how it follows from that of what the reader hands its value on to.
Accepted = Schema | Callable[[Schema], Schema]
F = TypeVar("F", bound=Callable[..., Any])

_SCALAR = ["string", "number", "boolean"]
_NUMBER = r"[0-9]{1,20}(\.[0-9]{1,20})?"
_CPUS = r"[0-9]{1,5}(-[0-9]{1,5}(:[0-9]{1,5}/[0-9]{1,5})?)?"

TEXT: Schema = {"type": _SCALAR, "pattern": r"\S"}
LINE: Schema = {"type": _SCALAR, "pattern": r"^(?=.*\S)[^\x00-\x1f\x7f]*$"}
NAME: Schema = {"type": _SCALAR, "pattern": f"^{SAFE_NAME.pattern}$", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max}  # no .inf
DURATION: Schema = {"type": "string", "pattern": f"^{_NUMBER} ?({'|'.join(UNITS_NS)}|µs|μs)$"}
PERCENT: Schema = {"type": "string", "pattern": r"^0*(100(\.0{1,20})?|[0-9]{1,2}(\.[0-9]{1,20})?) ?%$"}
TIME_OF_DAY: Schema = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"}
CPUS: Schema = {
    "anyOf": [
        {"type": "string", "pattern": rf"^\s*(auto|{_CPUS}(,{_CPUS})*)\s*$"},
        {"type": "integer", "minimum": 0, "maximum": MAX_CPUS - 1},
    ]
}


def accepts(what: Accepted) -> Callable[[F], F]:
    """Mark a reader with the schema of what it takes."""

    def mark(reader: F) -> F:
        vars(reader)["accepts"] = what
        return reader

    return mark


def whole(minimum: int | None = None, maximum: int | None = None) -> Schema:
    bounds = {"minimum": minimum, "maximum": maximum}
    return {"type": "integer", **{key: bound for key, bound in bounds.items() if bound is not None}}


def one_of(words: Sequence[str]) -> Schema:
    return {"enum": list(words)}


def text_like(pattern: str) -> Schema:
    """Text of which ``pattern`` is the whole; a number that is written without quotes is not looked at."""
    return {"type": _SCALAR, "pattern": f"^({pattern})$"}


def word_like(pattern: str) -> Schema:
    """The same of what no editor takes for a number."""
    return {"type": "string", "pattern": f"^({pattern})$"}


def nonempty(inner: Schema) -> Schema:
    return {**inner, "minItems": 1}


def keyed(pattern: re.Pattern[str]) -> Callable[[Schema], Schema]:
    """A mapping whose keys are ``pattern``."""
    return lambda inner: {**inner, "propertyNames": {"pattern": f"^({pattern.pattern})$"}}


class YamlSchema(GenerateJsonSchema):
    """JSON Schema (2020-12) of what the readers of a model take. A reader that does not say it is a ``TypeError``."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return self._read(schema["function"]["function"], schema["schema"])

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        return self._read(schema["function"]["function"], None)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        refine = getattr(schema["function"]["function"], "accepts", None)
        return refine(inner) if callable(refine) else inner

    def _read(self, reader: Any, inner: Any) -> JsonSchemaValue:
        accepted: Accepted | None = getattr(reader, "accepts", None)
        if accepted is None:
            raise TypeError(f"{reader.__module__}.{reader.__qualname__} does not say what it accepts")
        if not callable(accepted):
            return dict(accepted)
        return accepted({} if inner is None else self.generate_inner(inner))

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """The default as a file would spell it: ``1s``, not 1000000000. Those that are no scalar are left out."""
        found = self.generate_inner(schema["schema"])
        default = _spelt(schema["schema"], schema.get("default"))
        return {**found, "default": default} if isinstance(default, str | int | float) else found

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Without the model's docstring, which speaks of values as they are read; keys that nobody knows refused."""
        found = super().model_schema(schema)
        for key in ("title", "description"):
            found.pop(key, None)
        closed = found.pop("additionalProperties", None)
        if closed is not None:
            for each in found.get("anyOf", [found]):  # a short form beside the mapping
                if each.get("type") == "object":
                    each["additionalProperties"] = closed
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def _spelt(core: Any, value: Any) -> Any:
    while isinstance(core, dict):
        write = (core.get("serialization") or {}).get("function")
        if write is not None:
            return write(value)
        core = core.get("schema")
    return value
