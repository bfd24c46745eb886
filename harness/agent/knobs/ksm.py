# SPDX-License-Identifier: Apache-2.0
"""Merging of same pages off (ksm/run = 0): else ksmd scans memory, and writes to merged pages fault.

0 stops the scanner and leaves merged pages merged. 2 stops it too, and takes them apart, which may need memory that is
not there: so 2 is never written. Where it is found it will do, and stays.
"""

from __future__ import annotations

from typing import Any

from .base import FileKnob, Unavailable
from .forms import Form


def _scans(text: str) -> str:
    return "0" if text == "2" else text


class Ksm(FileKnob):
    name = "ksm"
    path = "/sys/kernel/mm/ksm/run"
    value = "0"
    form = Form(parse=_scans)
    remedy = "echo 0 > /sys/kernel/mm/ksm/run, and stop ksmtuned"

    def state(self) -> Any:
        return self._text(self.path)

    def unavailable(self, path: str) -> Unavailable:  # noqa: ARG002 (the base's)
        return Unavailable("this kernel merges no pages", needed=False)
