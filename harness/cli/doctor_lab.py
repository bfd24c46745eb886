# SPDX-License-Identifier: Apache-2.0
"""``doctor`` on what virtual boards need here: QEMU, tools that furnish them, and images or what builds those."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..advice import Finding
    from ..config.inventory import Inventory
    from ..config.targets import Virtual


def findings(inventory: Inventory, name: str | None = None) -> list[Finding]:
    """Nothing of an inventory without virtual boards: nothing of all this is needed then. ``name``: of that alone."""
    found = [target for target in inventory.targets.values() if not target.disabled and name in (None, target.name)]
    virtual = {target.name: target.virtual for target in found if target.virtual is not None}
    arches = dict.fromkeys(each.arch for each in virtual.values())
    return [*_qemu(arches), *_images(virtual)] if virtual else []


def _qemu(arches: Iterable[str]) -> Iterable[Finding]:
    from ..advice import Finding
    from ..errors import EnvironmentFault
    from ..lab import disks, machine

    for arch in arches:
        try:
            yield Finding("ok", "virtual boards", f"{arch} by {machine.program(arch)}")
        except EnvironmentFault as error:
            yield Finding("warn", "virtual boards", str(error), error.advice or "")
    try:
        disks.check_tools()
    except EnvironmentFault as error:
        yield Finding("warn", "virtual boards", str(error), error.advice or "")


def _images(boards: dict[str, Virtual]) -> Iterable[Finding]:
    from ..advice import Finding
    from ..errors import EnvironmentFault, UserError
    from ..lab import images
    from ..lab.boards import image_of
    from ..lab.cache import Cache

    names: dict[str, str] = {}
    for board, virtual in boards.items():
        try:
            names.setdefault(image_of(board, virtual), board)
        except UserError as error:
            yield Finding("warn", "image", str(error), error.advice or "")
    lacking = images.missing_tools()
    for name, board in names.items():
        try:
            image = images.find(images.recipe(name), Cache())
        except EnvironmentFault as error:
            yield Finding("warn", f"image {name}", str(error), f"it is built again by: isolbench lab up {board}")
            continue
        if image is not None:
            yield Finding("ok", f"image {name}", ", ".join(kernel.release for kernel in image.kernels.values()))
        elif lacking:
            what = f"not built yet, and cannot be built here: {', '.join(lacking)} not installed"
            advice = f"as root on Debian: apt-get install --no-install-recommends {' '.join(lacking)}"
            yield Finding("warn", f"image {name}", what, advice)
        else:
            yield Finding("note", f"image {name}", f"not built yet: isolbench lab up {board} does it")
