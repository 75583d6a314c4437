"""What may follow a released schema, and that what may is read by everybody: old by new, new by old."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.errors import MalformedInput
from schemas.evolution import check_compatible
from schemas.fingerprints import FINGERPRINTS
from schemas.metadata import schema

Change = Callable[[Any], object]

FOLDER = Path(__file__).resolve().parents[2] / "schemas" / "avro"

RELEASED = {
    "chunks.v1": "ff7d9da130ba28b2cbfa363cacc805f97760358d9595dc0ce69b88c3c4f840ff",
    "deadletter.v1": "75beabee384cc0bd3974e3ae758687e0629b53e347bad8361951bafd0192cc22",
    "metadata.v1": "fcf6ff8376c5f09bf6b2fbaa362bcd61f805b3e71f5cd34b48a4f71ef96f5466",
    "record.v1": "b5c57cd6c9875d3011f80d561a3f621522cdbacccb346f3160a0d27354ac5cf7",
    "segment.v1": "f96ba27e9409691dda3d252f1369f75244132edeb81877182aabfef61b480ce3",
    "shared.v1": "04cf2930a2a25f9d6327ac5be1eebf86b60e8be3c06c98e0cae4774083db17aa",
}
"""SHA-256 of each file as it was released. A new version is a new line; no line ever changes."""

ADDED: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string", "default": ""}, "new"),
    ({"type": "long", "default": 0}, 7),
    ({"type": "double", "default": 0.5}, 1.5),
    ({"type": "boolean", "default": False}, True),
    ({"type": "bytes", "default": ""}, b"\x00\xff"),
    ({"type": ["null", "long"], "default": None}, 7),
    ({"type": {"type": "array", "items": "string"}, "default": []}, ["a"]),
    ({"type": {"type": "map", "values": "string"}, "default": {}}, {"a": "b"}),
    ({"type": {"type": "fixed", "name": "Print", "size": 2}, "default": "\x00\xff"}, b"xy"),
    (
        {
            "type": {"type": "record", "name": "Pair", "fields": [{"name": "left", "type": "string", "default": "l"}]},
            "default": {},
        },
        {"left": "r"},
    ),
]
"""Fields that may be added, each with a value that a new writer gives it."""


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.avsc"))


def with_field(old: Any, field: dict[str, Any], at: int | None = None, name: str = "added") -> Any:
    """The schema with one more field, at the end or before field number ``at``."""
    new = deepcopy(old)
    new["fields"].insert(len(new["fields"]) if at is None else at, {"name": name, **field})
    return new


PLAIN: dict[str, Any] = {"string": "text", "int": 3, "long": 3, "double": 2.5, "boolean": True, "bytes": b"bytes"}


def sample(avro_type: Any) -> Any:
    """A value of a type that is not its default."""
    match avro_type:
        case str():
            return PLAIN[avro_type]
        case list():
            return sample(avro_type[1])
        case {"logicalType": "timestamp-micros"}:
            return datetime(2026, 11, 26, tzinfo=UTC)
        case {"type": "array"}:
            return [sample(avro_type["items"])]
        case {"type": "map"}:
            return {"key": sample(avro_type["values"])}
        case {"type": "fixed"}:
            return b"f" * avro_type["size"]
        case {"type": "record"}:
            return {field["name"]: sample(field["type"]) for field in avro_type["fields"]}
    raise AssertionError(f"no sample for {avro_type}")


def read(written: bytes, writer: Any, reader: Any) -> dict[str, Any]:
    """What an Avro library makes of bytes, with the schema they were written with and the one that the reader has."""
    stream = io.BytesIO(written)
    found: Any = fastavro.schemaless_reader(stream, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
    assert stream.read() == b""
    assert isinstance(found, dict)
    return found


def write(value: dict[str, Any], writer: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(writer), value)
    return stream.getvalue()


def test_released_files_are_as_they_were_released() -> None:
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.avsc")}
    assert found == RELEASED


def test_the_dictionary_of_metadata_never_changes() -> None:
    data = (FOLDER / "metadata.v1.dict").read_bytes()
    assert hashlib.sha256(data).hexdigest() == "19b2fb29ed2208208425dd3caac2f792abaf39b5a9005ea9b75b3a85731f1329"


def test_every_released_file_has_a_fingerprint() -> None:
    assert set(FINGERPRINTS) == set(RELEASED)
    assert len(set(FINGERPRINTS.values())) == len(FINGERPRINTS)


@pytest.mark.parametrize("name", names())
def test_every_version_may_follow_every_one_before_it(name: str) -> None:
    family, _, version = name.rpartition(".v")
    for number in range(1, int(version) + 1):
        check_compatible(schema(f"{family}.v{number}"), schema(name))


@pytest.mark.parametrize(("added", "given"), ADDED, ids=[json.dumps(one["type"])[:24] for one, _ in ADDED])
@pytest.mark.parametrize("name", names())
def test_an_added_field_with_a_default_is_read_both_ways(name: str, added: dict[str, Any], given: Any) -> None:
    old = schema(name)
    value = sample(old)
    for place in (None, 0, 2):
        new = with_field(old, added, place)
        check_compatible(old, new)
        assert read(write({**value, "added": given}, new), new, old) == value
        found = read(write(value, old), old, new)
        assert {key: found[key] for key in value} == value
        assert found.keys() - value.keys() == {"added"}
        assert found["added"] != given


def test_a_field_is_added_inside_a_part() -> None:
    """How a record would say which schema its metadata part has."""
    old = schema("record.v1")
    new = deepcopy(old)
    part = new["fields"][3]["type"]["items"]
    part["fields"].append({"name": "schema", "type": "string", "default": ""})
    check_compatible(old, new)
    value = sample(old)
    named = deepcopy(value)
    named["parts"][0]["schema"] = "metadata.v2"
    assert read(write(named, new), new, old) == value
    assert read(write(value, old), old, new)["parts"][0]["schema"] == ""


def test_compatibility_holds_over_any_number_of_versions() -> None:
    versions = [schema("metadata.v1")]
    for number, (field, _) in enumerate(ADDED):
        versions.append(with_field(versions[-1], field, at=number, name=f"added_{number}"))
    value = sample(versions[0])
    for older, newer in itertools.combinations(versions, 2):
        check_compatible(older, newer)
        written = write(sample(newer), newer)
        assert read(written, newer, older) == sample(older)
        assert read(written, newer, versions[0]) == value
        assert read(write(value, versions[0]), versions[0], newer).items() >= value.items()


def at(new: Any, path: str) -> tuple[list[Any], Any]:
    """The list that holds a field, and the field: ``parts.codec`` lies in the items of ``parts``."""
    fields, found = new["fields"], None
    for name in path.split("."):
        if found is not None:
            fields = found["type"]["items"]["fields"]
        found = next(field for field in fields if field["name"] == name)
    return fields, found


def gone(path: str) -> Change:
    def change(new: Any) -> None:
        fields, field = at(new, path)
        fields.remove(field)

    return change


def field(path: str, **changes: Any) -> Change:
    return lambda new: at(new, path)[1].update(changes)


def inner(path: str, **changes: Any) -> Change:
    return lambda new: at(new, path)[1]["type"].update(changes)


def without_default(path: str) -> Change:
    return lambda new: at(new, path)[1].pop("default")


def more(avro_type: Any, **rest: Any) -> Change:
    return lambda new: new["fields"].append({"name": "more", "type": avro_type, **rest})


ENUM = {"type": "enum", "name": "E", "symbols": ["A"]}
RECORD = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
NO_VALUE = "is no value of its type"

REFUSED: list[tuple[str, Change, str]] = [
    ("metadata.v1", gone("prompt_id"), "prompt_id: the field is gone"),
    ("record.v1", gone("parts.address"), r"parts\[\]\.address: the field is gone"),
    ("metadata.v1", field("user_id", name="uid"), "user_id: the field is gone"),
    ("metadata.v1", field("user_id", aliases=["uid"]), "user_id: it has aliases"),
    ("metadata.v1", more("string", default="", aliases=["uid"]), "more: it has aliases"),
    ("metadata.v1", lambda new: new.update(aliases=["Old"]), r"\(top\): it has aliases"),
    ("metadata.v1", field("tenant", type="bytes"), "tenant: the type was string and is bytes"),
    ("record.v1", field("parts.codec", type="long"), r"parts\[\]\.codec: the type was int and is long"),
    ("metadata.v1", field("ordinal", type=["null", "long"]), "ordinal: the type was long and is union"),
    ("metadata.v1", field("sequence", type=["null", "double"]), "sequence: the type was long and is double"),
    ("metadata.v1", field("sequence", type=["null", "long", "string"]), "sequence: the union had 2 branches and has 3"),
    ("metadata.v1", field("sequence", type=["long", "null"]), "sequence: the type was null and is long"),
    ("metadata.v1", inner("roles", items="bytes"), r"roles\[\]: the type was string and is bytes"),
    ("metadata.v1", field("occurred_at", type="long"), "occurred_at: the logical type was timestamp-micros"),
    ("record.v1", inner("event_id", size=17), "event_id: the size was 16 and is 17"),
    ("record.v1", inner("event_id", name="Id"), r"event_id: the fixed was affidavit\.v1\.EventId and is"),
    ("record.v1", lambda new: new.update(namespace="affidavit.v2"), r"\(top\): the record was affidavit\.v1\.Record"),
    ("metadata.v1", field("user_id", default="nobody"), "user_id: the default changed"),
    ("metadata.v1", field("kind", default="prompt"), "kind: the default changed"),
    ("metadata.v1", without_default("user_id"), "user_id: the default changed"),
    ("metadata.v1", more("string"), "more: the field is new and has no default"),
    ("metadata.v1", more("string", default=None), f"more: the default None {NO_VALUE}"),
    ("metadata.v1", more("long", default=True), f"more: the default True {NO_VALUE}"),
    ("metadata.v1", more("int", default=2**31), f"more: the default 2147483648 {NO_VALUE}"),
    ("metadata.v1", more(["null", "long"], default=0), f"more: the default 0 {NO_VALUE}"),
    ("metadata.v1", more({"type": "fixed", "name": "F", "size": 2}, default="a"), f"more: the default 'a' {NO_VALUE}"),
    ("metadata.v1", more(RECORD, default={}), f"more: the default {{}} {NO_VALUE}"),
    ("metadata.v1", more(ENUM, default="A"), "more: the field is new and an enum"),
    ("metadata.v1", more({"type": "array", "items": ENUM}, default=[]), "more: the field is new and an enum"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "says"), REFUSED, ids=[says for *_, says in REFUSED])
def test_what_somebody_could_not_read_is_refused(name: str, change: Change, says: str) -> None:
    old = schema(name)
    new = deepcopy(old)
    change(new)
    with pytest.raises(MalformedInput, match=f"schema field {says}"):
        check_compatible(old, new)


def test_an_enum_is_never_extended() -> None:
    old = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A"]}}],
    }
    new = json.loads(json.dumps(old).replace('["A"]', '["A", "B"]'))
    check_compatible(old, deepcopy(old))
    with pytest.raises(MalformedInput, match="schema field e: the symbols of the enum changed"):
        check_compatible(old, new)


def test_names_are_compared_where_a_type_is_used_again() -> None:
    """A type that is defined once and named later is the same type, however it is spelled."""
    first = {"name": "a", "type": {"type": "fixed", "name": "F", "size": 2}}
    old = {"type": "record", "name": "n.R", "fields": [first, {"name": "b", "type": "F"}]}
    new = {"type": "record", "name": "R", "namespace": "n", "fields": [first, {"name": "b", "type": {"type": "n.F"}}]}
    check_compatible(old, new)
    new["fields"].append({"name": "c", "type": ["null", "R"], "default": None})  # type: ignore[attr-defined]
    check_compatible(old, new)
