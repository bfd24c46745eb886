# SPDX-License-Identifier: Apache-2.0
"""Whatever a file holds, the models read it or say what is wrong: no other exception, and every line has a place."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.bench import Bench, read_bench
from harness.config.campaign import Axes, Budget, Campaign, load_campaign
from harness.config.inventory import load_inventory
from harness.config.targets import TargetKeys
from harness.errors import ConfigError

KEYS = [
    info.alias or name
    for model in (Campaign, Axes, Budget, TargetKeys, Bench)
    for name, info in model.model_fields.items()
] + ["classes", "targets", "defaults", "known_hosts", "threshold", "where", "sched", "a", "n[1-2]", "local"]
NAMES = ["gap", "local", "a", "shared", "fifo:1", "idle", "tag:a", "*", "[", "{name}", "{x}", ""]
SCALARS = st.sampled_from([*NAMES, "1s", "20us", "90%", "p99", "06:30"])
LEAVES = st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False) | SCALARS
DATA = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


def faults(read: Callable[[Path], Any], path: Path) -> list[str] | None:
    try:
        read(path)
    except ConfigError as error:
        return error.problems
    return None


@pytest.mark.parametrize("read", [load_campaign, load_inventory, read_bench])
@settings(max_examples=300, deadline=None)
@given(data=st.dictionaries(st.sampled_from(KEYS), DATA, max_size=10), quoted=st.booleans())
def test_any_data(read: Callable[[Path], Any], data: dict[str, Any], quoted: bool) -> None:
    text = json.dumps(data)  # JSON is YAML; without its quotes, scalars are plain
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(text if quoted else re.sub(r'"([a-z0-9:%]+)"', r"\1", text))
        problems = faults(read, path)
    assert problems is None or problems
    for line in problems or ():
        assert re.fullmatch(re.escape(str(path)) + r":\d+:\d+: .+", line), line
