# SPDX-License-Identifier: Apache-2.0
"""The first contact with a target: one round trip that finds what everything after it needs.

A POSIX shell script, since before it has run nothing else is known to be there. It finds a Python that will do, says
who we are and whether sudo makes us root, and a place where files may be written *and* executed. If sudo works, all of
it is asked as root: what root may do is what counts then (a home on NFS is closed to it).

Where SELinux is enforcing, root's programs do not lie in its home, from which systemd may not execute, but below
/usr/local/libexec: what is made there is of the type bin_t.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..deadline import Deadline
from ..errors import IsolbenchError, StorageFull, TargetUnfit
from .sudo import SUDO, SudoRefused, sudo_problem
from .transport import TargetPrivileges, Transport

OLDEST_PYTHON = (3, 9)
NEWEST_PYTHON_NAMED = 15  # python3.15 … python3.9 are looked for where python3 itself will not do

#: What the agent imports whatever it does, with the package that OpenEmbedded has it in (its python3-manifest.json).
MODULES = {
    "hashlib": "python3-crypt",
    "json": "python3-json",
    "socket": "python3-io",
    **dict.fromkeys(
        ["collections", "contextlib", "dataclasses", "errno", "fnmatch", "os", "platform", "re", "select", "signal"],
        "python3-core",
    ),
    **dict.fromkeys(["stat", "subprocess", "sys", "time", "traceback", "typing"], "python3-core"),
}

#: Below this a place counts as full: the agent, a few probes and the spool of a session.
LEAST_FREE_KB = 16 * 1024

_BEGIN, _END = "isolbench-contact-begin", "isolbench-contact-end"

#: Prints whether it will do, its version, the modules it lacks and its path; also Python 2 must be able to read it.
_PYTHON_TEST = """
import sys
missing = []
for name in {modules}:
    try:
        module = __import__(name)
        if name == "hashlib":
            module.sha256  # a hashlib without its extensions imports all the same
    except (ImportError, AttributeError):
        missing.append(name)
good = sys.version_info[:2] >= {oldest} and not missing
print("\\t".join(("good" if good else "bad", "%d.%d.%d" % sys.version_info[:3], ",".join(missing), sys.executable)))
"""

#: $1 the inner script, $2 the Python test, $3 names of Python, $4 "none", or what sudo is for; $5 is the login's PATH.
_OUTER = r"""
if [ "$(id -u)" != 0 ] && [ "$4" != none ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    nosudo=absent
    if command -v doas >/dev/null 2>&1; then nosudo='absent (doas is there)'; fi
  elif said=$(LC_ALL=C sudo -n -H -- /bin/sh -c : 2>&1 </dev/null); then
    exec sudo -n -H -- /bin/sh -c "$1" isolbench "$1" "$2" "$3" "sudo as $(id -un)" "$PATH"
  else
    nosudo=$(printf %s "refused: $said" | tr '\n\t' '  ')
  fi
fi
eval "$1"
"""

_INNER = r"""
say() { key=$1; shift; printf %s "$key"; for value; do printf '\t'; printf %s "$value" | tr '\n\t' '  '; done; echo; }
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${5:+:$5}
LC_ALL=C
export PATH LC_ALL
echo BEGIN
case $4 in sudo\ as\ *) say sudo "${4#sudo as }" ;; esac
[ -z "$nosudo" ] || say nosudo "$nosudo"
uid=$(id -u)
say uid "$uid"
say user "$(id -un 2>/dev/null)"
say home "$HOME"
say arch "$(uname -m)"
say kernel "$(uname -r)"
say date "$(date +%s)"
for name in $3; do
  path=$(command -v "$name" 2>/dev/null) && [ -x "$path" ] || continue
  if found=$("$path" -I -B -c "$2" 2>/dev/null); then
    printf 'python\t%s\n' "$found"
    case $found in good*) break ;; esac
  else
    say broken "$path" "$("$path" -I -B -c "$2" 2>&1 | tail -n 1)"
  fi
done
try() {
  place=$1
  case $place in /*) ;; *) return 1 ;; esac
  made=$(umask 077; mkdir -p "$place" 2>&1) || { say tried "$place" "cannot be made: $made"; return 1; }
  if [ -L "$place" ] || [ ! -O "$place" ]; then say tried "$place" "belongs to somebody else"; return 1; fi
  free=$(df -Pk "$place" 2>/dev/null | { read -r _; read -r _ _ _ free _; echo "$free"; })
  if [ -n "$free" ] && [ "$free" -lt LEAST ]; then say tried "$place" "full: $free KiB free"; return 1; fi
  test=$place/.test-$$
  wrote=$( { printf '#!/bin/sh\nexit 0\n' >"$test" && chmod 700 "$test"; } 2>&1) ||
    { rm -f "$test"; say tried "$place" "cannot be written: $wrote"; return 1; }
  ran=$("$test" 2>&1) || { rm -f "$test"; say tried "$place" "nothing may be executed there: $ran"; return 1; }
  rm -f "$test"
  say root "$place"
  say free "$free"
}
unhome() { [ "$uid" = 0 ] && [ "$(cat /sys/fs/selinux/enforce 2>/dev/null)" = 1 ] && try /usr/local/libexec/isolbench; }
unhome || try "$HOME/.cache/isolbench" || try "/var/tmp/isolbench-$uid" || try "/tmp/isolbench-$uid" ||
  try "/dev/shm/isolbench-$uid" || try "/run/user/$uid/isolbench"
echo END
"""


@dataclass(frozen=True)
class Contact:
    """What the first contact found. ``argv_prefix`` goes before every command that needs the privileges we have."""

    arch: str  # as `uname -m` says
    python: str  # an absolute path
    python_version: tuple[int, int, int]
    uid: int  # as which the agent will run: 0 with sudo
    user: str  # who logged in
    home: str
    deploy_root: str
    free_kb: int | None  # at deploy_root
    sudo: bool
    argv_prefix: tuple[str, ...]
    kernel: str
    date_s: int | None  # the target's idea of the time, in seconds since 1970
    notes: tuple[str, ...] = field(default=())  # what was not as one might wish, for people


def contact(transport: Transport, target: TargetPrivileges, deadline: Deadline) -> Contact:
    """Ask once. Raises TargetUnfit or StorageFull, each one line that says what is missing and where it was sought."""
    names = ["python3", *(f"python3.{minor}" for minor in range(NEWEST_PYTHON_NAMED, OLDEST_PYTHON[1] - 1, -1))]
    names += ["/usr/bin/python3", "/usr/local/bin/python3"]
    inner = _INNER.replace("BEGIN", _BEGIN).replace("END", _END).replace("LEAST", str(LEAST_FREE_KB))
    test = _PYTHON_TEST.format(modules=tuple(MODULES), oldest=OLDEST_PYTHON)
    wanted = target.become or "auto"
    done = transport.run(
        ["/bin/sh", "-c", _OUTER, "isolbench", inner, test, " ".join(names), wanted], deadline=deadline
    )
    found = parse(done.stdout.decode("utf-8", "replace"))
    if found is None:
        raise TargetUnfit(
            f"the first contact's script did not end (status {done.status}): {done.last_words()}",
            advice="it needs a POSIX /bin/sh with id, uname, mkdir, chmod and rm",
        )
    return judge(wanted, found)


def parse(output: str) -> dict[str, list[str]] | None:
    """The script's lines by their key, whatever stands before and after them; None if it did not come to its end."""
    _, begun, rest = output.partition(_BEGIN + "\n")
    body, ended, _ = rest.partition(_END + "\n")
    if not begun or not ended:
        return None
    found: dict[str, list[str]] = {}
    for line in body.splitlines():
        key, tab, value = line.partition("\t")
        if tab:
            found.setdefault(key, []).append(value)
    return found


def judge(wanted: str, found: dict[str, list[str]]) -> Contact:
    """From the script's answers to a Contact, or to the error that says what would help. Pure."""

    def one(key: str) -> str:
        return found.get(key, [""])[0]

    refused = one("nosudo")
    user = one("sudo") or one("user")
    problem, remedy = sudo_problem(refused, user)
    if wanted == "sudo" and refused:
        raise SudoRefused(f"`become: sudo`, but {problem}", advice=remedy)
    python, version = _python(found.get("python", []), found.get("broken", []))
    if not one("root"):
        raise _no_place(found.get("tried", []))
    notes = [f"{place}: {why}" for place, _, why in (tried.partition("\t") for tried in found.get("tried", []))]
    if refused:
        notes.append(f"not root, and {problem}: privileged modes and knobs are out of reach; {remedy}")
    return Contact(
        arch=one("arch"),
        python=python,
        python_version=version,
        uid=int(one("uid")),
        user=user,
        home=one("home"),
        deploy_root=one("root"),
        free_kb=int(one("free")) if one("free").isdigit() else None,
        sudo="sudo" in found,
        argv_prefix=SUDO if "sudo" in found else (),
        kernel=one("kernel"),
        date_s=int(one("date")) if one("date").isdigit() else None,
        notes=tuple(notes),
    )


def _python(tried: list[str], broken: list[str]) -> tuple[str, tuple[int, int, int]]:
    """The path and version of the Python that will do; else what is wrong with the others."""
    needed = ".".join(map(str, OLDEST_PYTHON))
    advice = f"isolbench's agent needs Python {needed} or newer on the target; its standard library is enough"
    complaints: list[str] = []
    for line in tried:
        verdict, version, missing, path = (line.split("\t") + [""] * 4)[:4]
        major, minor, patch = (int(part) for part in version.split("."))
        if verdict == "good":
            return path, (major, minor, patch)
        if (major, minor) < OLDEST_PYTHON:
            complaints.append(f"{path} is {version}")
            continue
        packages = sorted({MODULES[module] for module in missing.split(",")})
        lacks = f"lacks {missing.replace(',', ', ')}"
        complaints.append(
            f"{path} ({version}) {lacks} (OpenEmbedded: {', '.join(packages)}; Debian: python3, not python3-minimal)"
        )
    complaints += ["{} does not start: {}".format(*line.partition("\t")[::2]) for line in broken]
    if not complaints:
        raise TargetUnfit("no Python: python3 is not on its PATH", advice=advice)
    raise TargetUnfit(f"no Python that will do: {'; '.join(dict.fromkeys(complaints))}", advice=advice)


def _no_place(tried: list[str]) -> IsolbenchError:
    reasons = [tuple(line.partition("\t")[::2]) for line in tried]
    listed = "; ".join(f"{place}: {why}" for place, why in reasons)
    full = [place for place, why in reasons if why.startswith("full:") or "No space left" in why]
    if full:
        return StorageFull(f"no space: {listed}", advice=f"free {LEAST_FREE_KB // 1024} MiB in {full[0]}")
    return TargetUnfit(
        f"no place for files that may be executed: {listed}",
        advice="make one of these writable, and not mounted noexec",
    )
