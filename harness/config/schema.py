# SPDX-License-Identifier: Apache-2.0
"""JSON Schema of the three kinds of file, for editors and validators: :mod:`.accepts` says how, the models what."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from .accepts import LINE, NAME, Schema, YamlSchema
from .bench import Bench
from .campaign import Campaign
from .described import keys_of_table
from .kernels import BootProfile, KernelKeys
from .targets import CONNECTION, Keys, TargetKeys

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: By kind and model (none: the top level) the table of docs/configuration.md that describes its keys.
_TABLES: dict[str, dict[str | None, str]] = {
    "campaign": {
        None: "Campaign: top level",
        "Axes": "Campaign: axes",
        "Selector": "Campaign: include and exclude",
        "Retry": "Campaign: retry",
        "Budget": "Campaign: budgets",
    },
    "inventory": {
        None: "Inventory: top level",
        "Keys": "Inventory: target",
        "TargetKeys": "Inventory: target",
        "LocalKeys": "Inventory: target",
        "Virtual": "Inventory: virtual",
        "KernelKeys": "Inventory: kernels",
        "Artefact": "Inventory: kernels",
        "BootProfile": "Inventory: boots",
        "Power": "Inventory: power",
    },
    "bench": {None: "Bench: top level", "Param": "Bench: params", "Metric": "Bench: metrics"},
}
#: A name, or a range of them: ``rpi5-[01-48]``.
_NAMES = r"^[A-Za-z0-9\[][A-Za-z0-9._+,\[\]-]*$"


def campaign() -> Schema:
    return _document("campaign", Campaign.model_json_schema(schema_generator=YamlSchema))


def bench() -> Schema:
    """Without ``name``: a bench is called like its file."""
    found = Bench.model_json_schema(schema_generator=YamlSchema)
    del found["properties"]["name"]
    found["required"].remove("name")
    return _document("bench", found)


def inventory() -> Schema:
    """The top level is taken apart by :mod:`.inventory` itself, which merges what holds for a target."""
    models = (Keys, TargetKeys, KernelKeys, BootProfile)
    _, found = models_json_schema([(model, "validation") for model in models], schema_generator=YamlSchema)
    definitions: dict[str, Any] = found["$defs"]
    of_all = definitions["TargetKeys"]["properties"]
    local = {key: value for key, value in of_all.items() if key not in CONNECTION}
    definitions["LocalKeys"] = {**definitions["TargetKeys"], "properties": local}
    keys, target, this = (_or_nothing(name) for name in ("Keys", "TargetKeys", "LocalKeys"))
    return _document(
        "inventory",
        {
            "type": "object",
            "properties": {
                "known_hosts": LINE,
                "defaults": keys,
                "classes": {
                    "type": "object",
                    "propertyNames": {"pattern": NAME["pattern"]},
                    "additionalProperties": keys,
                },
                "targets": {
                    "type": "object",
                    "propertyNames": {"pattern": _NAMES},
                    "properties": {"local": this},
                    "additionalProperties": target,
                },
                "kernels": _named("KernelKeys"),
                "boots": _named("BootProfile", nothing=True),
            },
            "additionalProperties": False,
            "$defs": definitions,
        },
    )


def _named(model: str, *, nothing: bool = False) -> Schema:
    each = _or_nothing(model) if nothing else {"$ref": f"#/$defs/{model}"}
    return {"type": "object", "propertyNames": {"pattern": NAME["pattern"]}, "additionalProperties": each}


def _or_nothing(name: str) -> Schema:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]}


def _document(kind: str, found: Schema) -> Schema:
    for model, title in _TABLES[kind].items():
        keys = (found if model is None else found["$defs"][model])["properties"]
        for key, text in keys_of_table(title).items():
            if key in keys:  # a class has none, `local` no address
                keys[key] = {**keys[key], "description": text}
    about = f"An isolbench {kind} file."
    return {"$schema": _DIALECT, "title": f"isolbench {kind}", "description": about, **found}


#: By what ``isolbench schema`` calls them.
SCHEMAS = {"campaign": campaign, "inventory": inventory, "bench": bench}
