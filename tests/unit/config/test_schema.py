# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas are true: what the readers take they take, and what they refuse a schema refuses where it can."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from harness.cli import schema as command
from harness.config import accepts, types
from harness.config.bench import PARSERS, read_bench, to_quantile
from harness.config.campaign import campaign_from_data, load_campaign
from harness.config.inventory import _TOP, load_inventory, read_inventory
from harness.config.schema import SCHEMAS
from harness.config.targets import Keys, TargetKeys, _to_isolated
from harness.config.yaml import Plain, parse
from harness.errors import ConfigError

from . import test_bench, test_campaign, test_inventory

ROOT = Path(__file__).parents[3]
VALIDATORS = {kind: Draft202012Validator(make()) for kind, make in SCHEMAS.items()}
NULLS = ("", "~", "null", "Null", "NULL")


def seen_by_an_editor(value: Any) -> Any:
    """What our reader has as text, as YAML 1.2's core schema (an editor, a validator) has it."""
    if isinstance(value, dict):
        return {key: seen_by_an_editor(each) for key, each in value.items()}
    if isinstance(value, list):
        return [seen_by_an_editor(each) for each in value]
    if not isinstance(value, Plain):
        return None if value is None else str(value)
    if value in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return value.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]+", value):
        return int(value)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", value):
        return float(value)
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)", value):
        return float(value.replace(".", ""))
    return str(value)


def refused(kind: str, text: str) -> str | None:
    """Why the schema refuses the file; None if it takes it."""
    data = seen_by_an_editor(parse(text, "f").data)
    error = next(VALIDATORS[kind].iter_errors(data), None)
    return None if error is None else f"{error.json_path}: {error.message}"


def test_the_schemas_are_schemas() -> None:
    for validator in VALIDATORS.values():
        Draft202012Validator.check_schema(validator.schema)
    assert tuple(SCHEMAS) == command.KINDS
    json.dumps([make() for make in SCHEMAS.values()])


def files() -> Iterator[tuple[str, str, str]]:
    for path in sorted((ROOT / "benches").glob("*.yaml")):
        yield "bench", path.name, path.read_text()
    for path in sorted((ROOT / "benches" / "campaigns").glob("*.yaml")):
        yield "campaign", path.name, path.read_text()
    yield "inventory", "example.yaml", (ROOT / "inventory" / "example.yaml").read_text()
    pages = sorted((ROOT / "docs").glob("*.md"))
    for page in (ROOT / "README.md", *(each for each in pages if each.name != "adding.md")):  # its mode is yet to be
        text = page.read_text()
        inline = re.findall(r"`(\{campaign: .*\})`", text)
        for number, block in enumerate([*re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S), *inline]):
            kind = "campaign" if "campaign:" in block else "bench" if "probe:" in block else "inventory"
            yield kind, f"{page.name} {number}", block


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, _, text in files()], ids=[n for _, n, _ in files()])
def test_every_file_that_is_shipped_or_shown(kind: str, text: str) -> None:
    assert refused(kind, text) is None


def readers(folder: Path) -> dict[str, Callable[[str], Any]]:
    (folder / "b.yaml").write_text(test_campaign.BENCH)

    def from_file(read: Callable[[Path], Any], name: str) -> Callable[[str], Any]:
        path = folder / name
        return lambda text: (path.write_text(text), read(path))

    return {
        "campaign": from_file(load_campaign, "c.yaml"),
        "bench": from_file(read_bench, "x.yaml"),
        "inventory": lambda text: read_inventory(parse(text, "f"), folder / "i.yaml"),
    }


#: Keys at the top of a file, one of which any file has.
FILE = re.compile(r"\b(campaign|targets|probe|defaults|classes|known_hosts)\b[\"']?:")


def test_every_valid_text_in_the_tests(tmp_path: Path) -> None:
    """Whatever string of these tests a reader takes, its schema takes too."""
    taken = dict.fromkeys(SCHEMAS, 0)
    texts = {test_campaign.FULL, test_campaign.SMALLEST, test_bench.GAP}
    for page in Path(__file__).parents[2].rglob("test_*.py"):
        strings = (node.value for node in ast.walk(ast.parse(page.read_text())) if isinstance(node, ast.Constant))
        texts |= {each for each in strings if isinstance(each, str) and FILE.search(each) and len(each) < 20_000}
    read = readers(tmp_path)
    for text in sorted(texts):
        for kind, reader in read.items():
            try:
                reader(text)
            except ConfigError:
                continue
            taken[kind] += 1
            assert refused(kind, text) is None, text
    assert taken["campaign"] >= 10
    assert taken["bench"] >= 3
    assert taken["inventory"] >= 10


#: What only a reader can know, by its words.
BEYOND = (
    "is a parameter: the helper",
    r"no (mode|bench|load|kernel) is called|unknown bench|no such parameter|is no bench of|has no metric",  # names
    r"is a histogram|is one number per run|gap_ns: expected a duration|stolen_ppm: expected a number",  # of a bench
    r"less than the minimum|more than the maximum|less than min|unknown choice 'c'",  # of another key
    r"expected (0s to 24h|1ms to 1h|1ms to 168h)|× sessions|of the period: the kernel keeps",  # arithmetic
    r"whole number, found '(1\.0|022|1e9|1e3)'|runs backwards|stands for \d+ names|more than \d+ targets",
    r"benches\[1\]\.params\.ring",  # typed by the bench
    r"unknown class|no address|'n2' is already in|'local' is this machine|not base64|not a key of type",
    r"write it under an exact name",
    r"say why, in quotes",  # yes and no are words in YAML 1.2
)
CASES = [
    *(("campaign", text, problems) for text, problems in test_campaign.BAD),
    *(("bench", text, problems) for text, problems in test_bench.BAD),
    *(("inventory", text, problems) for text, problems in test_inventory.BAD),
]


@pytest.mark.parametrize(("kind", "text", "problems"), CASES, ids=[f"{kind}-{text[-50:]}" for kind, text, _ in CASES])
def test_what_a_reader_refuses(kind: str, text: str, problems: list[str]) -> None:
    if refused(kind, text) is None:
        assert [line for line in problems if not any(re.search(words, line) for words in BEYOND)] == []


PLAIN = st.one_of(
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3})? ?(h|min|s|ms|us|µs|ns|%|m)?", fullmatch=True),
    st.from_regex(r"p?[0-9]{1,3}(\.[0-9]{1,7})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,2}(-[0-9]{1,2})?(:[0-9]/[0-9])?(,[0-9]{1,2})?", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._+-]{1,5}", fullmatch=True),
    st.from_regex(r"[0-2][0-9]:[0-5][0-9]", fullmatch=True),
    st.text("ab 0-.:+_µ\t", min_size=1, max_size=6).filter(lambda text: text.strip() == text),
)
SCALARS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "text": (types.to_text, accepts.TEXT),
    "line": (types.to_line, accepts.LINE),
    "name": (types.to_name, accepts.NAME),
    "duration": (types.to_duration, accepts.DURATION),
    "percent": (types.to_percent, accepts.PERCENT),
    "time": (types.to_time, accepts.TIME_OF_DAY),
    "isolated": (_to_isolated, accepts.CPUS),
    "quantile": (to_quantile, vars(to_quantile)["accepts"]),
    "int": (types.to_int, accepts.whole()),
    "number": (types.to_number, accepts.NUMBER),
}


def why_not(read: Callable[[Any], Any], text: str) -> str:
    try:
        read(Plain(text))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", SCALARS)
def test_no_schema_refuses_what_its_reader_takes(name: str) -> None:
    read, described = SCALARS[name]
    validator = Draft202012Validator(described)

    @given(PLAIN)
    def check(text: str) -> None:
        if text in NULLS:
            return
        if not why_not(read, text):
            assert validator.is_valid(seen_by_an_editor(Plain(text)))

    check()


@pytest.mark.parametrize("name", ["duration", "percent", "time", "quantile"])
def test_what_is_no_such_thing_is_refused(name: str) -> None:
    read, described = SCALARS[name]
    validator = Draft202012Validator(described)

    @given(PLAIN.filter(lambda text: text not in NULLS))
    def check(text: str) -> None:
        if validator.is_valid(seen_by_an_editor(Plain(text))):
            assert re.fullmatch("|.*(finer than 1 ns|longer than a year)", why_not(read, text))

    check()


def test_the_inventorys_keys() -> None:
    top = SCHEMAS["inventory"]()
    assert tuple(top["properties"]) == _TOP
    for model in (Keys, TargetKeys):
        known = {info.alias or name for name, info in model.model_fields.items()}
        assert set(top["$defs"][model.__name__]["properties"]) == known


def test_every_key_says_what_it_means() -> None:
    """An editor shows it beside the key."""
    for kind, make in SCHEMAS.items():
        found = make()
        models = {"": found, **{name: model for name, model in found["$defs"].items() if name != "BenchUse"}}
        silent = [f"{kind} {name}.{key}" for name, model in models.items()
                  for key, about in model["properties"].items() if not about.get("description")]  # fmt: skip
        assert silent == []
    properties = SCHEMAS["campaign"]()["properties"]
    assert properties["settle"]["description"].startswith("the wait before each run")
    assert properties["settle"]["description"].endswith("Default: `1s`")
    assert properties["axes"]["description"] == "what is combined. Default: `shared` and `idle`"


def test_defaults_are_spelt_as_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(test_campaign.BENCH)
    (tmp_path / "c.yaml").write_text("{campaign: c, targets: [local], benches: [b], duration: 1s}")
    campaign = load_campaign(tmp_path / "c.yaml")
    properties = SCHEMAS["campaign"]()["properties"]
    stated = {key: about["default"] for key, about in properties.items() if "default" in about}
    assert stated["settle"] == "1s"
    assert stated["quorum"] == "100%"
    assert campaign_from_data({**campaign.to_yaml_data(), **stated}, campaign.definitions) == campaign


def test_a_reader_that_does_not_say_what_it_takes_is_found() -> None:
    class Undescribed(types.Model):
        value: types.Annotated[str, types.BeforeValidator(lambda value: value)]

    with pytest.raises(TypeError, match="does not say what it accepts"):
        Undescribed.model_json_schema(schema_generator=accepts.YamlSchema)


def test_a_yaml_file_may_name_its_schema(tmp_path: Path) -> None:
    """What the documents advise for editors is a comment: our readers pass it over."""
    (tmp_path / "i.yaml").write_text("# yaml-language-server: $schema=i.schema.json\ntargets: {a: {address: a}}\n")
    assert "a" in load_inventory(tmp_path / "i.yaml").targets
    assert yaml.safe_load((tmp_path / "i.yaml").read_text())
    assert set(PARSERS) == {"duration", "int", "number", "choice"}
