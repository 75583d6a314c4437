"""May a schema follow another? The rules of ``docs/schema-evolution.md``, as a function of two Avro schemas. Pure.

The rules are narrower than Avro's own (FULL_TRANSITIVE), because three kinds of reader have to agree: Avro libraries
that resolve two schemas, ClickHouse, which takes fields by name and knows no aliases, and programs that know one
version alone. Each rule compares whole types, so what holds from each version to the next holds over any number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.errors import MalformedInput

Schema = Any
"""A schema as JSON: a name, a list (union), or an object."""

_NOTHING = object()
_INT, _LONG = 2**31, 2**63
_NAMED = frozenset({"record", "enum", "fixed"})
_PLAIN = frozenset(["null", "boolean", "int", "long", "float", "double", "bytes", "string", "array", "map"])


def check_compatible(old: Schema, new: Schema) -> None:
    """Return if ``new`` may follow ``old``: readers of each then read what writers of the other wrote.

    Fields are only added, each with a default. A field keeps its name, its type and its default; a named type keeps its
    name; there are no aliases; nothing that is added is an enum.

    Raises:
        MalformedInput: it may not; with the path of the first offending field.
    """
    _Comparison(_names(old), _names(new)).types("", old, new)


class _Comparison:
    """Two schemas, each with the named types in it by full name."""

    def __init__(self, old: Mapping[str, Schema], new: Mapping[str, Schema]) -> None:
        self._old, self._new = old, new
        self._done: set[str] = set()

    def types(self, path: str, old: Schema, new: Schema, old_space: str = "", new_space: str = "") -> None:
        """The types of one place. A namespace is that of the named type around it."""
        old_type, old, old_space = _resolved(old, old_space, self._old)
        new_type, new, new_space = _resolved(new, new_space, self._new)
        if old_type != new_type:
            raise _fault(path, f"the type was {old_type} and is {new_type}: a type never changes; add another field")
        if old_type == "union":
            self._unions(path, old, new, old_space, new_space)
        elif old_type in _NAMED:
            self._named(path, old_type, old, new)
        elif old_type in ("array", "map"):
            inner = "items" if old_type == "array" else "values"
            self.types(f"{path}[]", old[inner], new[inner], old_space, new_space)
        elif _logical(old) != _logical(new):
            raise _fault(path, f"the logical type was {_logical(old)} and is {_logical(new)}: it never changes")

    def _unions(self, path: str, old: list[Schema], new: list[Schema], old_space: str, new_space: str) -> None:
        if len(old) != len(new):
            raise _fault(path, f"the union had {len(old)} branches and has {len(new)}: a type never changes")
        for before, after in zip(old, new, strict=True):
            self.types(path, before, after, old_space, new_space)

    def _named(self, path: str, kind: str, old: Schema, new: Schema) -> None:
        name, now = _full_name(old), _full_name(new)
        if name != now:
            raise _fault(path, f"the {kind} was {name} and is {now}: a name never changes")
        if name in self._done:
            return
        self._done.add(name)
        _refuse_aliases(path, new)
        if kind == "record":
            self._fields(path, old, new)
        elif kind == "enum" and old["symbols"] != new["symbols"]:
            raise _fault(path, "the symbols of the enum changed: an old reader refuses those it does not know")
        elif kind == "fixed" and old["size"] != new["size"]:
            raise _fault(path, f"the size was {old['size']} and is {new['size']}: a type never changes")

    def _fields(self, path: str, old: Schema, new: Schema) -> None:
        before = {field["name"]: field for field in old["fields"]}
        after = {field["name"]: field for field in new["fields"]}
        old_space, new_space = _space(old), _space(new)
        for name, field in before.items():
            place = f"{path}.{name}".lstrip(".")
            if name not in after:
                raise _fault(place, "the field is gone: it stays, and writers may leave it at its default")
            self.types(place, field["type"], after[name]["type"], old_space, new_space)
            if field.get("default", _NOTHING) != after[name].get("default", _NOTHING):
                raise _fault(place, "the default changed: what was written before would read as something else")
        for name, field in after.items():
            place = f"{path}.{name}".lstrip(".")
            _refuse_aliases(place, field)
            if name not in before:
                self._added(place, field, new_space)

    def _added(self, path: str, field: Schema, space: str) -> None:
        if "default" not in field:
            raise _fault(path, "the field is new and has no default: what was written before has no value for it")
        if "enum" in _kinds(field["type"], space, self._new):
            raise _fault(path, "the field is new and an enum, which can never get another symbol: make it a string")
        if not _fits(field["default"], field["type"], space, self._new):
            raise _fault(path, f"the default {field['default']!r} is no value of its type (of a union: the first)")


def _fits(value: Any, schema: Schema, space: str, names: Mapping[str, Schema]) -> bool:
    """Whether a JSON value is a default for a type (Avro 1.12 §Complex Types, table of default values)."""
    kind, schema, space = _resolved(schema, space, names)
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            bound = _INT if kind == "int" else _LONG
            return isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
        case "float" | "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "bytes" | "fixed":
            plain = isinstance(value, str) and all(ord(character) < 256 for character in value)
            return plain and (kind == "bytes" or len(value) == schema["size"])
        case "array":
            return isinstance(value, list) and all(_fits(item, schema["items"], space, names) for item in value)
        case "map":
            return isinstance(value, dict) and all(
                _fits(item, schema["values"], space, names) for item in value.values()
            )
        case "union":
            return bool(schema) and _fits(value, schema[0], space, names)
        case "record":
            return isinstance(value, dict) and all(
                _fits(value.get(field["name"], field.get("default", _NOTHING)), field["type"], _space(schema), names)
                for field in schema["fields"]
            )
        case _:
            return False


def _kinds(schema: Schema, space: str, names: Mapping[str, Schema], above: frozenset[str] = frozenset()) -> set[str]:
    """What a type is made of, names resolved."""
    kind, schema, space = _resolved(schema, space, names)
    inner: list[Schema] = []
    if kind in _NAMED:
        if _full_name(schema) in above:
            return set()
        above |= {_full_name(schema)}
    if kind == "union":
        inner = schema
    elif kind in ("array", "map"):
        inner = [schema["items" if kind == "array" else "values"]]
    elif kind == "record":
        inner, space = [field["type"] for field in schema["fields"]], _space(schema)
    return {kind}.union(*(_kinds(one, space, names, above) for one in inner))


def _resolved(schema: Schema, space: str, names: Mapping[str, Schema]) -> tuple[str, Schema, str]:
    """What kind of type it is, its JSON with a name replaced by what it names, and the namespace it stands in."""
    if isinstance(schema, list):
        return "union", schema, space
    if isinstance(schema, dict):
        kind = schema["type"]
        if isinstance(kind, str) and kind in _NAMED:
            return _resolved(_full_name(schema, space), "", names)
        plain = isinstance(kind, str) and kind in _PLAIN
        return (kind, schema, space) if plain else _resolved(kind, space, names)
    full = schema if "." in schema or not space else f"{space}.{schema}"
    if full in names:
        return names[full]["type"], names[full], full.rpartition(".")[0]
    return schema, schema, space


def _names(schema: Schema, space: str = "") -> dict[str, Schema]:
    """The named types in a schema by full name; their own JSON gets the namespace written out."""
    if isinstance(schema, list):
        return {name: found for one in schema for name, found in _names(one, space).items()}
    if not isinstance(schema, dict):
        return {}
    kind, found = schema["type"], {}
    if kind in _NAMED:
        full = _full_name(schema, space)
        space = full.rpartition(".")[0]
        found[full] = schema | {"name": full.rpartition(".")[2], "namespace": space}
    inner = [schema.get("items"), schema.get("values"), *(field["type"] for field in schema.get("fields", ()))]
    for one in [*inner, kind if isinstance(kind, dict | list) else None]:
        found |= _names(one, space) if one is not None else {}
    return found


def _full_name(schema: Schema, space: str = "") -> str:
    name: str = schema["name"]
    if "." in name:
        return name
    namespace = schema.get("namespace", space)
    return f"{namespace}.{name}" if namespace else name


def _space(schema: Schema) -> str:
    return _full_name(schema).rpartition(".")[0]


def _logical(schema: Schema) -> str:
    return str(schema.get("logicalType", "none")) if isinstance(schema, dict) else "none"


def _refuse_aliases(path: str, schema: Schema) -> None:
    if schema.get("aliases"):
        raise _fault(path, "it has aliases, which readers by name do not know: a name is neither changed nor reused")


def _fault(path: str, what: str) -> MalformedInput:
    return MalformedInput(f"schema field {path or '(top)'}: {what}")
