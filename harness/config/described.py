# SPDX-License-Identifier: Apache-2.0
"""What ``docs/configuration.md`` says of each key, so that an editor can say it beside the key."""

from __future__ import annotations

import re
from functools import cache

from ..errors import EnvironmentFault
from .data import data_dir

_SECTION = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `([a-z_]+)` \| (.+) \| (.+) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")
#: Of the column of defaults, what is no value.
_NO_DEFAULT = ("required", "none", "see there")


@cache
def keys_of_table(title: str) -> dict[str, str]:
    """The keys in the table under the heading ``title``, each with its meaning and default; none without the page."""
    try:
        text = (data_dir("docs") / "configuration.md").read_text(encoding="utf-8")
    except (EnvironmentFault, OSError):
        return {}
    table = dict(_SECTION.findall(text)).get(title, "")
    return {key: _LINK.sub(r"\1", _sentence(meaning, default)) for key, meaning, default in _ROW.findall(table)}


def _sentence(meaning: str, default: str) -> str:
    if default in _NO_DEFAULT:
        return meaning
    return f"{meaning}; {default}" if default.startswith("required") else f"{meaning}. Default: {default}"
