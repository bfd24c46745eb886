# SPDX-License-Identifier: Apache-2.0
"""What a spreadsheet makes of a CSV file's cells. Pure."""

from __future__ import annotations

from typing import Any

#: With these a cell is a formula to spreadsheets, which they evaluate when the file is opened.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def inert(value: object) -> object:
    """Text as it is; after an apostrophe where a spreadsheet would obey it: machines under test say what they like."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def number(value: Any) -> str:
    """What a spreadsheet's reader needs: six digits, a thousand million whole ns. Parquet and JSON keep every bit."""
    return f"{value:.0f}" if abs(value) >= 1e6 else f"{value:.6g}"
