# SPDX-License-Identifier: Apache-2.0
"""What a lab in a box costs: building an image, a boot until the board answers by SSH, and an idle board.

``python -m tests.bench.lab [--build]``: for each architecture whose QEMU is here a board is brought up, left alone,
taken down; with ``--build`` its image is built first, into a cache of its own. Prints one line of JSON each: ``arch``,
``accel``, ``build_s`` (null where it was not), ``up_s``, ``idle_share`` (CPU seconds a second); or what it ``lacks``.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from harness.config.targets import Virtual
from harness.errors import EnvironmentFault
from harness.lab import boards, images, machine
from harness.lab.cache import Cache
from harness.lab.recipes import RECIPES
from harness.lab.way import idle_share

ARCHES = ("x86_64", "aarch64")
#: Seconds, and a share of a CPU: what docs/lab.md says.
BUILD_BAR_S = {"x86_64": 90.0, "aarch64": 120.0}
UP_BAR_S = 40.0
IDLE_BAR = 0.05
_SETTLE_S = 10.0
_IDLE_S = 20.0


def build_s(arch: str, folder: Path) -> float:
    began = time.monotonic()
    images.build(RECIPES[f"bookworm-{arch}"], Cache(folder), lambda text: None)
    return time.monotonic() - began


def measure(arch: str, *, build: bool) -> dict[str, object]:
    virtual = Virtual(arch=arch)
    with tempfile.TemporaryDirectory(prefix="isolbench-bench-") as folder:
        built_s = build_s(arch, Path(folder)) if build else None
        cache = Cache(Path(folder)) if build else Cache()
        images.build(RECIPES[f"bookworm-{arch}"], cache, lambda text: None)
        os.environ["XDG_STATE_HOME"] = folder
        began = time.monotonic()
        try:
            record = boards.up("bench", virtual, lambda text: None, cache=cache)
            up_s = time.monotonic() - began
            time.sleep(_SETTLE_S)
            share = idle_share(record, _IDLE_S)
        finally:
            boards.down("bench")
    return {"arch": arch, "accel": record.accel, "build_s": built_s, "up_s": up_s, "idle_share": share}


def main() -> None:
    for arch in ARCHES:
        try:
            machine.program(arch)
            print(json.dumps(measure(arch, build="--build" in sys.argv)), flush=True)
        except EnvironmentFault as error:
            print(json.dumps({"arch": arch, "lacks": f"{error}; {error.advice}"}), flush=True)


if __name__ == "__main__":
    main()
