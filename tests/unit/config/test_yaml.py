# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import yaml
from harness.config.yaml import Plain, load, parse, path_text, suggest
from harness.errors import ConfigError


def problems(content: str | bytes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(content, "f")
    return caught.value.problems


@pytest.fixture(params=["C", "Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of PyYAML's parsers: where libyaml is not built in, the other one reads."""
    if request.param == "C":
        if not hasattr(pyyaml, "CSafeLoader"):
            pytest.skip("PyYAML was built without libyaml")
        monkeypatch.setattr(yaml, "_Loader", pyyaml.CSafeLoader)
    else:
        monkeypatch.setattr(yaml, "_Loader", pyyaml.SafeLoader)
    return str(request.param)


BAD: list[tuple[str | bytes, list[str]]] = [
    ("", ["f: the file is empty"]),
    ("# only a comment\n", ["f: the file is empty"]),
    ("---\n...\n", ["f:2:1: expected 'key: value' lines, found nothing"]),
    ("- a\n", ["f:1:1: expected 'key: value' lines, found a list"]),
    ("just text\n", ["f:1:1: expected 'key: value' lines, found 'just text'"]),
    ("a: 1\nb: 2\na: 3\n", ["f:3:1: duplicate key 'a' (first in line 1)"]),
    ("a: 1\n'a': 3\n", ["f:2:1: duplicate key 'a' (first in line 1)"]),
    (
        "a: {x: 1, x: 2}\nb: {y: 1, y: 2}\n",
        ["f:1:11: duplicate key 'x' (first in line 1)", "f:2:11: duplicate key 'y' (first in line 2)"],
    ),
    ("a:\n\tb: 1\n", ["f:2:1: a tab: YAML is indented with spaces"]),
    ("a: &x [*x]\n", ["f:1:8: alias *x contains itself"]),
    ("a: *x\n", ["f:1:4: alias *x: no such anchor"]),
    (
        "a: !!python/object/apply:os.system [id]\n",
        ["f:1:4: the tag !!python/object/apply:os.system is not allowed here"],
    ),
    ("a: !mine 1\n", ["f:1:4: the tag !mine is not allowed here"]),
    ("a: !!set {x}\n", ["f:1:4: the tag !!set is not allowed here"]),
    ("a: !!timestamp 2026-01-01\n", ["f:1:4: the tag !!timestamp is not allowed here"]),
    ("1: a\n", ["f:1:1: the key 1 is no text to YAML: write '1'"]),
    ("6.10: a\n", ["f:1:1: the key 6.10 is no text to YAML: write '6.10'"]),
    ("no: a\n", ["f:1:1: the key no is no text to YAML: write 'no'"]),
    ("~: a\n", ["f:1:1: expected a name as the key, found nothing"]),
    ("? [a]\n: b\n", ["f:1:3: expected a name as the key, found a list"]),
    ("? {a: 1}\n: b\n", ["f:1:3: expected a name as the key, found a mapping"]),
    ("x: &x {a: 1}\ny: {<<: *x}\n", ["f:2:5: merge keys (<<) are not supported"]),
    ("a: 1\n---\nb: 2\n", ["f:2:1: a second document: one file holds one"]),
    (b"a: 1\nb: \xff\n", ["f:2:4: not UTF-8 (byte 0xff)"]),
    ("a: 1\n".encode("utf-16"), ["f:1:1: not UTF-8 (byte 0xff)"]),
    ("a: b\x07\n", ["f:1:5: a control character (U+0007)"]),
    ('a: "\\0"\n', ["f:1:4: a control character (U+0000)"]),
    ('a: "\\x1b[31m"\n', ["f:1:4: a control character (U+001B)"]),
    ("a: " + "[" * 100, ["f:1:43: nested deeper than 40"]),
    ("a: b: c\n", ["f:1:5: a second ': ' in one value: put the text in quotes, or what follows on lines of its own"]),
    ("x: 1\na: [1, 2\nb: 3\nc: 4\n", ["f:2:4: [ without its ] (missed at 3:2)"]),
    ("a: {x: 1\nb: 2\n", ["f:1:4: { without its } (missed at 2:2)"]),
    ("a: 'x\nb: 2\n", ["f:1:4: ' without its ' (missed at 3:1)"]),
]


@pytest.mark.parametrize(("content", "expected"), BAD)
def test_bad_files(content: str | bytes, expected: list[str], loader: str) -> None:
    assert problems(content) == expected


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert problems("\n".join(lines)) == ["f:6:25: more than 500000 values, aliases expanded"]


def test_a_hundred_thousand_brackets_do_not_end_the_process() -> None:
    assert problems("a: " + "[" * 100_000) == ["f:1:43: nested deeper than 40"]


def test_values_keep_their_text(loader: str) -> None:
    text = (
        "a: 6.10\nb: no\nc: 22:30:00\nd: 1e9\ne: 010\nf: .inf\ng: 2026-01-01\nh: 0x10\ni: '~'\nj: ~\nk:\nl: !!str 5\n"
    )
    found = parse(text, "f").data
    assert found == {
        "a": "6.10", "b": "no", "c": "22:30:00", "d": "1e9", "e": "010", "f": ".inf", "g": "2026-01-01", "h": "0x10",
        "i": "~", "j": None, "k": None, "l": "5",
    }  # fmt: skip
    assert type(found["a"]) is Plain
    assert type(found["i"]) is str
    assert type(found["l"]) is str


def test_aliases_work_and_a_byte_order_mark_is_passed_over(loader: str) -> None:
    assert parse(b"\xef\xbb\xbfa: &x [1]\nb: *x\n", "f").data == {"a": ["1"], "b": ["1"]}


def test_positions() -> None:
    document = parse("a:\n  é: {x: 1}\n  list:\n    - u\n    - v\n", "f")
    assert document.position(("a", "é", "x")) == (2, 10)
    assert document.position(("a", "é", "x"), key=True) == (2, 7)
    assert document.position(("a", "list", 1)) == (5, 7)
    assert document.position(("a", "list", 1, "gone")) == (5, 7)
    assert document.position(()) == (1, 1)
    assert document.problem(("a", "é"), "what") == 'f:2:6: a."é": what'


def test_paths() -> None:
    assert path_text(("targets", "rpi5-[1-2]", "tags", 0)) == 'targets."rpi5-[1-2]".tags[0]'
    assert path_text(()) == ""


def test_suggestions() -> None:
    assert suggest("adress", ["address", "port"]) == "; did you mean 'address'?"
    assert suggest("zzz", ["b", "a"]) == " (known: a, b)"
    assert suggest("zzz", []) == ""


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"a: " + b"x" * yaml.MAX_BYTES)
    cases: list[tuple[Any, str]] = [
        (tmp_path, f"{tmp_path}: cannot be read: Is a directory"),
        (tmp_path / "none.yaml", f"{tmp_path}/none.yaml: cannot be read: No such file or directory"),
        (tmp_path / "big.yaml", f"{tmp_path}/big.yaml: larger than 4 MiB"),
        (Path("a\0b"), "a\0b: cannot be read: embedded null byte"),
    ]
    for path, message in cases:
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems == [message]


YAMLISH = st.text(
    st.one_of(st.sampled_from(list("ab:-[]{}&*!|>%@`'\"\\#,?~ \n\t01.<=\u0085\u2028\ufeff")), st.characters()),
    max_size=60,
)


def outcome(content: str | bytes) -> dict[str, Any] | list[str]:
    try:
        return parse(content, "f").data or {"an empty": "mapping"}
    except ConfigError as error:
        return error.problems


@settings(max_examples=400)
@given(YAMLISH)
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    for each in (pyyaml.SafeLoader, getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml, "_Loader", each)
            found = outcome(text)
        assert found
        assert isinstance(found, dict) or all(line.startswith("f:") and "\n" not in line for line in found)


@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_a_config_error(content: bytes) -> None:
    assert outcome(content)
