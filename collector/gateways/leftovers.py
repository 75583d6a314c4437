"""Taking a source record apart without dropping a leaf: what no mapping takes is left over, and becomes extras."""

from __future__ import annotations

import math
from typing import Any

from collector.json_units import encode_content

_MAX_LONG = (1 << 63) - 1


class Fields:
    """An object of the source, out of which a mapping takes what it understands.

    A typed ``take_…`` leaves a value of another type where it is, so that it ends among the leftovers instead of
    nowhere. ``None`` and empty text, lists and objects say nothing, and are not left over.
    """

    __slots__ = ("_parts", "_rest")

    def __init__(self, value: object) -> None:
        self._rest: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
        self._parts: dict[str, Fields] = {}

    def __contains__(self, name: str) -> bool:
        return self._rest.get(name) is not None

    def names(self) -> list[str]:
        """The names of what was not taken."""
        return list(self._rest)

    def peek_all(self) -> dict[str, Any]:
        """Everything that was not taken, which stays."""
        return dict(self._rest)

    def take_all(self) -> dict[str, Any]:
        """Everything that was not taken."""
        taken, self._rest = self._rest, {}
        return taken

    def take(self, name: str) -> Any:
        """The value, whatever it is; ``None`` when absent."""
        return self._rest.pop(name, None)

    def peek(self, name: str) -> Any:
        """The value, which stays."""
        return self._rest.get(name)

    def take_text(self, *names: str) -> str:
        """The first of these that is non-empty text. A whole number counts as its digits."""
        for name in names:
            value = self._rest.get(name)
            if value is None:
                continue
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            if isinstance(value, str) and value:
                del self._rest[name]
                return value
        return ""

    def take_count(self, name: str) -> int | None:
        """A whole number that fits a field, also as a float or text without a fraction."""
        value = self._rest.get(name)
        if value is None:
            return None
        number = _integer(value)
        if number is None or abs(number) > _MAX_LONG:
            return None
        del self._rest[name]
        return number

    def take_number(self, name: str) -> float | None:
        """A finite number."""
        value = self._rest.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            number = float(value)
        except OverflowError:
            return None
        if not math.isfinite(number):
            return None
        del self._rest[name]
        return number

    def take_flag(self, name: str) -> bool | None:
        """A boolean."""
        value = self._rest.get(name)
        if not isinstance(value, bool):
            return None
        del self._rest[name]
        return value

    def take_texts(self, name: str) -> list[str]:
        """A list of texts."""
        value = self._rest.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return []
        del self._rest[name]
        return value

    def take_objects(self, name: str) -> list[dict[str, Any]]:
        """A list of objects, or a single one."""
        value = self._rest.get(name)
        found = [value] if isinstance(value, dict) and value else value
        if not isinstance(found, list) or not found or not all(isinstance(item, dict) for item in found):
            return []
        del self._rest[name]
        return found

    def part(self, name: str) -> Fields:
        """The object ``name`` as fields of its own; what is left of it is left over here as ``name.field``."""
        part = self._parts.get(name)
        if part is None:
            value = self._rest.get(name)
            part = self._parts[name] = Fields(value)
            if isinstance(value, dict):
                del self._rest[name]
        return part

    def drop_same(self, name: str, value: object) -> None:
        """Forget a field that only repeats ``value``, which is kept elsewhere."""
        if name in self._rest and type(self._rest[name]) is type(value) and self._rest[name] == value:
            del self._rest[name]

    def leftovers(self) -> dict[str, str]:
        """Field → JSON text, of everything that was not taken."""
        left: dict[str, str] = {}
        self._leave(left, "")
        return left

    def _leave(self, left: dict[str, str], prefix: str) -> None:
        for name, value in self._rest.items():
            if value not in (None, "", [], {}):
                left[prefix + name] = encode_content(value).decode()
        for name, part in self._parts.items():
            if part._rest or part._parts:
                part._leave(left, f"{prefix}{name}.")


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.removeprefix("-").isdigit():
        return int(value)
    return None
