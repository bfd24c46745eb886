# SPDX-License-Identifier: Apache-2.0
"""``netboot``: files in a folder of the controller's that the machine's network boot reads; then it is told to reboot.

``kernel``, ``initrd`` and ``cmdline`` are there for one boot: they are removed once the machine is back, or given up.
What the machine does without them (its disk, the next entry of its boot order) is its default.
"""

from __future__ import annotations

from .base import Method

FILES = ("kernel", "initrd", "cmdline")

METHOD = Method("netboot")
