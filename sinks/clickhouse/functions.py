"""Which functions a reader may call: those that compute from their arguments alone. Read from the engine's own list.

Functions come in categories, and whole categories are harmless; of the mixed one a few are named. What a new release
of the engine adds to another category is refused until somebody has looked at it.
"""

from __future__ import annotations

from clickhouse_connect.driver.client import Client

CATEGORIES = (
    "Aggregate Functions",
    "Arithmetic",
    "Arrays",
    "Bit",
    "Bitmap",
    "Comparison",
    "Conditional",
    "Dates and Times",
    "Distance",
    "Encoding",
    "Financial",
    "Hash",
    "IP Address",
    "JSON",
    "Logical",
    "Map",
    "Mathematical",
    "Null",
    "Random Number",
    "Rounding",
    "String",
    "String Replacement",
    "String Search",
    "String Splitting",
    "Time Series",
    "Time Window",
    "Tuple",
    "Type Conversion",
    "URL",
    "UUID",
)

REFUSED = frozenset({"chdb", "formatrow", "formatrownonewline", "kqlparametercast"})
"""Exceptions in those categories: they reach outside their arguments, or into parsers of files."""

NAMED = frozenset(
    [
        "bar",
        "bytesize",
        "connectionid",
        "countdigits",
        "currentuser",
        "defaultvalueoftypename",
        "displayname",
        "exists",
        "formatreadabledecimalsize",
        "formatreadablequantity",
        "formatreadablesize",
        "formatreadabletimedelta",
        "getsetting",
        "getsettingordefault",
        "getsubcolumn",
        "grouping",
        "hmac",
        "identity",
        "ignore",
        "isconstant",
        "isdecimaloverflow",
        "lambda",
        "materialize",
        "minsamplesizecontinuous",
        "minsamplesizeconversion",
        "neighbor",
        "normalizedqueryhash",
        "normalizequery",
        "nothing",
        "rownumberinallblocks",
        "rownumberinblock",
        "runningaccumulate",
        "runningdifference",
        "throwif",
        "timezone",
        "tocolumntypename",
        "totypename",
        "transform",
        "uptime",
        "user",
        "variantelement",
        "varianttype",
        "version",
        "untuple",
        "interval",
    ]
)
"""Of the category ``Other`` and of those without one, in lower case."""


def callable_functions(client: Client) -> frozenset[str]:
    """Names in lower case; aliases stand with what they are aliases of. Combinators of aggregates are not listed."""
    rows = client.query("SELECT lower(name), categories, lower(alias_to) FROM system.functions").result_rows
    harmless = {name for name, category, alias in rows if category in CATEGORIES} | NAMED
    aggregates = "SELECT lower(name) FROM system.functions WHERE is_aggregate"
    harmless |= {name for (name,) in client.query(aggregates).result_rows}
    harmless -= REFUSED
    return frozenset(harmless | {name for name, _, alias in rows if alias and alias in harmless})
