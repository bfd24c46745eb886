# SPDX-License-Identifier: Apache-2.0
"""Files that are either there whole or not there: write aside, fsync, rename. And the errors of reading them."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import EnvironmentFault, StorageFull

#: Folders being written carry it; readers pass them over, and one left by a crash is harmless.
TMP_PREFIX = ".tmp-"

_FULL = (errno.ENOSPC, errno.EDQUOT)


class BrokenResult(EnvironmentFault):
    """A result file cannot be used: missing, damaged, or not of the shape it should have. Names the file."""


class NewerSchema(BrokenResult):
    """A result file was written by a newer isolbench than this one."""


def is_execution(path: Path) -> bool:
    return any((path / name).exists() for name in ("plan.json", "runs", "attempts"))


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or quota into :class:`StorageFull`, and any other ``OSError`` into a fault naming ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                f"{path}: {os.strerror(error.errno or 0)}",
                advice="free some space and resume: nothing half-written was left behind",
            ) from error
        raise EnvironmentFault(f"{path}: {error.strerror or error}") from error


def to_bytes(document: Any) -> bytes:
    """JSON as it is kept on disk: UTF-8, indented, newline at the end. NaN and infinity raise ``ValueError``."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape


def write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make a rename in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(final: Path, files: Mapping[str, bytes], marker: str) -> bool:
    """Make the folder ``final`` with ``files``, all at once. False, touching nothing, when it is already finished.

    ``marker`` is the file whose presence says finished; it is written last. A reader sees the whole folder or none,
    also after a power cut. Raises :class:`StorageFull` when there is no room (what was written is removed), and
    :class:`BrokenResult` when ``final`` exists with other things in it.
    """
    if (final / marker).exists():
        return False
    with storage_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = final.parent / f"{TMP_PREFIX}{final.name}-{secrets.token_hex(4)}"
        try:
            aside.mkdir()
            for name in sorted(files, key=lambda name: (name == marker, name)):
                write_synced(aside / name, files[name])
            sync_folder(aside)
            try:
                os.rename(aside, final)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                if (final / marker).exists():  # another process finished the same run in the meantime
                    return False
                raise BrokenResult(
                    f"{final}: exists, but has no {marker}", advice="look at what it is and move it away, then resume"
                ) from error
            sync_folder(final.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return True


def write_file(path: Path, data: bytes) -> None:
    """Write ``path`` atomically. Raises like :func:`make_folder`."""
    with replaced(path) as file:
        file.write(data)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """``path`` anew, atomically: what is written is it once the block ends, and nothing if that raises.

    Raises like :func:`make_folder`.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.parent / f"{TMP_PREFIX}{path.name}-{secrets.token_hex(4)}"
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            sync_folder(path.parent)
        finally:
            aside.unlink(missing_ok=True)


def read_document(path: Path, newest: int) -> dict[str, Any]:
    """The JSON object in ``path``, whose ``schema`` is at most ``newest``; else :class:`BrokenResult`."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BrokenResult(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BrokenResult(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BrokenResult(f"{path}: not a JSON object")
    schema = document.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise BrokenResult(f"{path}: schema is {schema!r}, not a positive number")
    if schema > newest:
        raise NewerSchema(
            f"{path}: schema {schema} is newer than this isolbench knows ({newest})",
            advice="update isolbench to read it",
        )
    return document
