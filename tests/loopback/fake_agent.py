# SPDX-License-Identifier: Apache-2.0
"""A python3 for a target that lies: it lets the contact and the deployment pass, and then is no agent of ours.

Started in the place of python3, with the real one's arguments. ``BEHAVIOUR`` beside this file says what it does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
MAGIC = b"ISOLBENCH/1\n"
EVIL = "\x1b]0;owned\x07<script>alert(1)</script>\r\nisolbench: all is well"


def say(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def answer(head: dict[str, object], body: bytes = b"") -> None:
    say(json.dumps({**head, **({"size": len(body)} if body else {})}).encode() + b"\n" + body)


def facts() -> dict[str, object]:
    """Believable ones."""
    known: dict[str, object] = json.loads((HERE / "facts.json").read_text())
    return known


def serve(behaviour: str) -> None:
    """Answer as the agent would, but for what ``behaviour`` says."""
    for line in sys.stdin.buffer:
        ask = json.loads(line)
        sys.stdin.buffer.read(int(ask.get("size", 0)))
        kind, number = ask["t"], ask["id"]
        if kind == "hello":
            found: object = {"cpus": "all of them"} if behaviour == "facts that are none" else facts()
            answer({"t": "welcome", "id": number, "facts": found, "lease": None, "restored": [EVIL]})
        elif kind == "acquire" and behaviour == "a busy that is none":
            answer({"t": "busy", "id": number, "owner": {"who": EVIL}, "age_s": EVIL, "expires_s": []})
        elif kind == "acquire":
            answer({"t": "lease", "id": number, "token": "one" if behaviour == "a token that is none" else 1})
        elif kind == "list" and behaviour == "runs outside":
            runs = [{"run": name} for name in ("../../../evil", "/etc/passwd", "", EVIL, None)]
            answer({"t": "list", "id": number, "runs": runs, "batch": None})
        elif kind == "list":
            runs = 7 if behaviour == "a list that is none" else []
            answer({"t": "list", "id": number, "runs": runs, "batch": None})
        elif kind == "have":
            answer({"t": "have", "id": number, "missing": []})
        elif kind == "submit":
            answer({"t": "ok", "id": number})
            for head in pushed(behaviour):
                answer(head)
            answer({"t": "event", "kind": "batch-finished", "stopped": {"kind": "x", "message": EVIL}})
        else:
            answer({"t": "ok", "id": number})


def pushed(behaviour: str) -> list[dict[str, object]]:
    outside = {"t": "run", "run": "../../evil", "files": [{"name": "../../evil", "size": 0, "sha256": ""}]}
    return [
        {"t": "event", "kind": EVIL, "run": EVIL, "self": 1, "target": "other"},
        {"t": "event", "kind": ["run-started"], "run": []},
        {"t": "event", "kind": "run-started", "run": [EVIL]},
        {"t": "event", "kind": "run-failed", "run": EVIL, "reason": EVIL, "fault": EVIL},
        *([outside, {"t": "run", "run": 7}, {"t": "run"}] if behaviour == "runs outside" else []),
    ]


def main() -> None:
    words = sys.argv[1:]
    behaviour = (HERE / "BEHAVIOUR").read_text()
    code = words[words.index("-c") + 1] if "-c" in words else ""
    if "__import__" in code:
        print(f"good\t3.11.0\t\t{HERE}/python3")
    elif "isolbench-deploy" in code:
        print(f'isolbench-deploy {{"path": "{HERE}/agent.pyz"}}')
    elif behaviour == "silence, then the end":
        sys.exit(0)
    elif behaviour == "an endless line":
        say(MAGIC)
        while True:
            say(b"x" * 65536)
    elif behaviour == "endless noise":
        while True:
            say(os.urandom(65536).replace(b"ISOLBENCH", b"") + b"\n")
    elif behaviour == "a body without an end":
        say(MAGIC + b'{"t": "welcome", "id": 1, "size": 1000000000000}\n')
    elif behaviour == "a deep nest":
        say(MAGIC + b"[" * 100_000 + b"\n")
        sys.stdin.buffer.read()
    else:
        say(MAGIC)
        serve(behaviour)


if __name__ == "__main__":
    main()
