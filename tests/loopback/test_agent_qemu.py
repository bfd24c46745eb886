# SPDX-License-Identifier: Apache-2.0
"""The agent on the other architecture: an aarch64 Python under qemu-user, real batches with an aarch64 probe.

The kernel starts foreign programs by an interpreter that is registered in a user namespace of the test's own: nothing
on this machine changes, and there "root" has no privilege. What a time under emulation is worth, nobody asks here.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from harness.agent.spec import LoadSpec
from harness.build import build_probe, native_arch
from harness.errors import BuildError
from harness.store.hdr import decode

from .agent_kit import EXECUTION, MEASURED, agent_in, listen, run_spec, settings, soon, submit, without_measured
from .unpacked import unpacked

pytestmark = [
    pytest.mark.skipif(without_measured() is not None, reason=str(without_measured())),
    pytest.mark.skipif(native_arch() != "x86_64", reason="this machine runs aarch64 itself"),
]

#: ELF, 64 bits, little endian, of any ABI; ET_EXEC or ET_DYN; EM_AARCH64.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

#: Its own interpreters of foreign programs and its own mounts; the emulator's libraries beside the foreign ones; the
#: test's folder is /mnt.
INSIDE = r"""
set -e
emulator=$1 root=$2 mnt=$3
shift 3
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
printf '%s' ":isolbench:M:0:MAGIC:MASK:$emulator:F" >/proc/sys/fs/binfmt_misc/register
for each in proc sys dev; do mkdir -p "$root/$each"; mount --rbind /$each "$root/$each"; done
for each in /lib64 /lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu; do
    mkdir -p "$root$each"
    mount --rbind "$(readlink -f $each)" "$root$each"
done
mkdir -p "$root/mnt"
mount --rbind "$mnt" "$root/mnt"
exec chroot "$root" "$@"
""".replace("MAGIC", MAGIC).replace("MASK", MASK)


@pytest.fixture(scope="session")
def prefix() -> list[str]:
    """Before a command and its folder: it then runs on aarch64."""
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user)")
    root = unpacked("bookworm-arm64-python3", "bookworm", "python3", "--arch=arm64")
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private"]
    prefix = [*unshare, "sh", "-c", INSIDE, "sh", emulator, str(root)]
    done = subprocess.run([*prefix, "/tmp", "/usr/bin/python3", "-V"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no foreign programs in a user namespace here: {done.stderr.strip()[-300:]}")
    return prefix


@pytest.fixture(scope="session")
def gap() -> bytes:
    try:
        return build_probe("gap", "aarch64").path.read_bytes()
    except BuildError as error:
        pytest.skip(f"no probe: {error}")


def test_an_aarch64_agent_carries_out_a_batch(prefix: list[str], gap: bytes, tmp_path: Path) -> None:
    (machine,) = struct.unpack_from("<H", gap, 18)
    assert machine == 183
    with agent_in(tmp_path, prefix=[*prefix, str(tmp_path)], python="/usr/bin/python3", folders="/mnt") as agent:
        before = settings()
        client = agent.attach()
        assert client.welcome["facts"]["arch"] == "aarch64"
        sha256 = client.put("gap", gap, soon())
        spin = LoadSpec("spin", "spin")
        runs = [run_spec(1, sha256, mode="shared"), run_spec(2, sha256), run_spec(3, sha256, mode="shared", load=spin)]
        submit(client, runs)
        heard = listen(client)
        assert (heard.last["done"], heard.last["failed"]) == (3, 0), [event.get("reason") for event in heard.events]
        for run, tag in ((runs[0], "any"), (runs[1], f"cpu{MEASURED}"), (runs[2], "any")):
            files = heard.runs[run.run]
            record = json.loads(files["record.json"])
            assert record["status"] == "ok"
            (result,) = record["results"]
            assert (result["arch"], result["clock"]["source"]) == ("aarch64", "cntvct")
            told = result["histograms"]["gap_ns"]
            assert decode(files[f"gap_ns.{tag}.hdr"]).total == told["recorded"] > 0
        assert client.list_runs(EXECUTION, soon())["runs"] == []
        assert settings() == before
