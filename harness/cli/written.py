# SPDX-License-Identifier: Apache-2.0
"""A text stream in front of stdout: no line ends with blanks, and what the encoding cannot write is spelt in ASCII."""

from __future__ import annotations

import io
import re
from typing import IO

#: Characters of ours that not every encoding has, and what is written for them.
_SPELT = {"µ": "u", "·": "-", "×": "x", "…": "...", "–": "-", "—": "-"}
_SPELT |= dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True))
_ASCII = str.maketrans(_SPELT)
_BLANKS = re.compile(r" +(?=\n)")


class Written(io.TextIOBase):
    """Writes to ``inner``. ``strip`` takes off the blanks with which tables end their lines; ``encoding`` is that of
    ``inner`` unless given."""

    def __init__(self, inner: IO[str], *, strip: bool, encoding: str | None = None) -> None:
        self._inner, self._strip = inner, strip
        self._encoding = encoding or getattr(inner, "encoding", None) or "utf-8"
        try:
            "".join(_SPELT).encode(self._encoding)
            self._spell = False
        except (UnicodeEncodeError, LookupError):
            self._spell = True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def write(self, text: str, /) -> int:
        shown = _BLANKS.sub("", text) if self._strip else text
        if self._spell:
            shown = shown.translate(_ASCII).encode(self._encoding, "backslashreplace").decode(self._encoding)
        self._inner.write(shown)
        return len(text)

    def flush(self) -> None:
        self._inner.flush()

    def isatty(self) -> bool:
        return self._inner.isatty()

    def fileno(self) -> int:
        return self._inner.fileno()
