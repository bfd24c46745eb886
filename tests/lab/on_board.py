# SPDX-License-Identifier: Apache-2.0
"""Carried out on a board, by root, with the board's own Python: what a mode may change there, seen without the agent.

``look``; ``kill CPUS``: look while a partition is in use, SIGKILL the agent's worker, look again when all is said to be
put back, and then the kernel's own word on a partition of CPUS. One JSON object on standard output.
"""

import glob
import json
import os
import signal
import sys
import time

CGROUP = "/sys/fs/cgroup"
OURS = CGROUP + "/isolbench"
#: Of a task's flags: user space may not set its CPUs.
NO_SETAFFINITY = 0x04000000
UNDO = "/run/isolbench/undo.jsonl"


def read(path):
    """None where it is not there, or is nobody's to read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None


def settings(*patterns):
    return {path: read(path) for pattern in patterns for path in sorted(glob.glob(pattern))}


def tasks():
    """The CPUs of each task by number, start and name. Left out: what only the kernel may move (workers and rescuers of
    workqueues, threads of one CPU), and threads of interrupts, which are where the chip has last delivered theirs."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/task/[0-9]*"):
        name, stat = read(path + "/comm"), read(path + "/stat")
        fields = stat.rpartition(")")[2].split() if stat else []
        if name and fields and not int(fields[6]) & NO_SETAFFINITY and not name.startswith("irq/"):
            tid = int(os.path.basename(path))
            try:
                found[f"{tid} {fields[19]} {name}"] = sorted(os.sched_getaffinity(tid))
            except OSError:
                continue
    return found


def look():
    return {
        "groups": sorted(folder[len(CGROUP) :] for folder, _, _ in os.walk(CGROUP)),
        "control": read(CGROUP + "/cgroup.subtree_control"),
        "effective": read(CGROUP + "/cpuset.cpus.effective"),
        "isolated": read(CGROUP + "/cpuset.cpus.isolated"),
        "partition": read(OURS + "/cpuset.cpus.partition"),
        "inside": [read(f"/proc/{pid}/comm") for pid in (read(OURS + "/cgroup.procs") or "").split()],
        "irqs": settings("/proc/irq/*/smp_affinity_list", "/proc/irq/default_smp_affinity"),
        "scheduler": settings("/proc/sys/kernel/sched_rt_runtime_us", "/sys/kernel/debug/sched/fair_server/*/runtime"),
        "tasks": tasks(),
    }


def refusal(cpus):
    control = CGROUP + "/cgroup.subtree_control"
    before = read(control)
    write(control, "+cpuset")
    os.mkdir(OURS)
    write(OURS + "/cpuset.cpus", cpus)
    write(OURS + "/cpuset.cpus.partition", "isolated")
    said = read(OURS + "/cpuset.cpus.partition")
    write(OURS + "/cpuset.cpus.partition", "member")
    os.rmdir(OURS)
    if "cpuset" not in before.split():
        write(control, "-cpuset")
    return said


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def wait_for(true, what):
    end_s = time.monotonic() + 300
    while not true():
        if time.monotonic() > end_s:
            sys.exit("never: " + what)
        time.sleep(0.02)


def worker():
    """The agent's worker: the daemon that is a child of the other one."""
    daemons = {}
    for path in glob.glob("/proc/[0-9]*"):
        if "--foreground" in (read(path + "/cmdline") or "").split("\0"):
            daemons[int(path[6:])] = int(read(path + "/stat").rpartition(")")[2].split()[1])
    return next(pid for pid, parent in daemons.items() if parent in daemons)


def kill(cpus=""):
    wait_for(lambda: read(OURS + "/cgroup.procs"), "a task in the partition")
    during, pid = look(), worker()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(UNDO), "an empty undo")
    return {"during": during, "after": look(), "refusal": refusal(cpus) if cpus else None}


print(json.dumps({"look": look, "kill": kill}[sys.argv[1]](*sys.argv[2:])))
