# SPDX-License-Identifier: Apache-2.0
"""``events.jsonl`` of an execution, read: what happened, in order. It is the truth of nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def read_events(path: Path) -> Iterator[Event]:
    """The events of a file; a torn last line (the controller was killed while writing it) is left out."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
