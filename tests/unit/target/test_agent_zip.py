# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path

import harness.agent
from harness.target.deploy import agent_zip, pack

FOLDER = Path(harness.agent.__file__).parent


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    data, sha256 = agent_zip()
    assert sha256 == hashlib.sha256(data).hexdigest()
    copy = tmp_path / "agent"
    shutil.copytree(FOLDER, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "spec.cpython-311.pyc").write_bytes(b"compiled")
    assert pack(copy) == data
    (copy / "spec.py").write_text("# changed\n")
    assert pack(copy) != data


def test_a_python_without_zlib_can_read_it() -> None:
    infos = zipfile.ZipFile(io.BytesIO(agent_zip()[0])).infolist()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_the_folder_verbatim_and_a_way_in() -> None:
    archive = zipfile.ZipFile(io.BytesIO(agent_zip()[0]))
    names = archive.namelist()
    assert names == sorted(names)
    assert "__main__.py" in names
    sources = {f"agent/{path.relative_to(FOLDER)}": path for path in FOLDER.rglob("*.py")}
    assert set(names) - {"__main__.py"} >= set(sources)
    for name, path in sources.items():
        assert archive.read(name) == path.read_bytes()
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
