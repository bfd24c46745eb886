# SPDX-License-Identifier: Apache-2.0
"""Where the files that come with isolbench lie: ``benches/`` and ``csrc/``, in a checkout or in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from ..errors import EnvironmentFault

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir(name: str, *, package: Path = _PACKAGE) -> Path:
    """The folder ``name``: beside the package in a checkout, else inside the package.

    A folder of that name beside an *installed* package would be somebody else's (``site-packages/benches``), so
    the one beside counts only in a checkout of this project.
    """
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    packaged = package / "_data" / name
    if packaged.is_dir():
        return packaged
    raise EnvironmentFault(
        f"isolbench's own folder {name}/ is missing (looked for {checkout / name} and {packaged})",
        advice="install isolbench again",
    )
