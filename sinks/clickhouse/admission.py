"""Which queries the read-only interface admits, and the query that is run in their place. Pure.

The engine parses the query (``parseQueryToJSON``, which takes one statement as a value and executes nothing); this
module walks the tree, admits what it knows, and gives every table its full name in the reader's own catalogue
(:mod:`sinks.clickhouse.catalogue`). The engine formats the tree back to text, parses that once more, the tree is walked
once more, and *that* text is run, so no difference between two readings of a query can slip a table or a function past.

Everything is an allow-list: kinds of nodes, functions, tables, table functions. Behind it stand two further walls: a
reader's tables are views that filter by tenant before anything else of the query sees a row, and the session is
``readonly = 1``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from schemas.errors import AccessDenied, MalformedInput
from sinks.clickhouse.listing import show_tables
from sinks.clickhouse.reader import Admitted, Reader, Tree

NODES = frozenset(
    [
        "ArrayJoin",
        "Asterisk",
        "ColumnsApplyTransformer",
        "ColumnsExceptTransformer",
        "ColumnsListMatcher",
        "ColumnsRegexpMatcher",
        "ColumnsReplaceTransformer",
        "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList",
        "ExplainQuery",
        "ExpressionList",
        "Function",
        "Identifier",
        "Interpolate",
        "InterpolateElement",
        "Literal",
        "OrderByElement",
        "QualifiedAsterisk",
        "QualifiedColumnsListMatcher",
        "QualifiedColumnsRegexpMatcher",
        "QueryParameter",
        "SampleRatio",
        "SelectIntersectExceptQuery",
        "SelectQuery",
        "SelectWithUnionQuery",
        "SetQuery",
        "Subquery",
        "TableExpression",
        "TableIdentifier",
        "TableJoin",
        "TablesInSelectQuery",
        "TablesInSelectQueryElement",
        "WindowDefinition",
        "WindowListElement",
        "WithElement",
    ]
)
"""Parts of a query that only read. Whatever else a statement is made of, it is refused with it."""

EXPLAINS = frozenset({"EXPLAIN", "EXPLAIN SYNTAX", "EXPLAIN AST", "EXPLAIN QUERY TREE", "EXPLAIN PIPELINE"})
"""``EXPLAIN ESTIMATE`` is not one: it counts the rows of all tenants."""

TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "values", "view"}
)
"""Table functions that make rows out of their arguments alone, in lower case."""

IN_FUNCTIONS = re.compile(r"(?:global)?(?:not)?(?:null)?in(?:ignoreset)?", re.IGNORECASE)
"""Behind these an identifier may name a table."""


def admit(tree: Tree, reader: Reader, functions: Collection[str] | None, parameters: Mapping[str, str]) -> Admitted:
    """Judge the tree of one statement, and rewrite it in place.

    Args:
        tree: from ``parseQueryToJSON``.
        reader: what may be read.
        functions: names that may be called, in lower case; ``None``: all (for views of our own making).
        parameters: values of ``{name:Type}``, for those that stand for a table.

    Raises:
        AccessDenied: the statement does more than read, or names what the reader may not read.
        MalformedInput: it is nested too deeply to be read.
    """
    admitted = Admitted()
    named = tree.pop("format_ast", None)
    if named is not None:
        admitted.format = str(named["name"])
    if tree["type"] == "ShowTablesQuery":
        admitted.sql = show_tables(tree, reader)
        return admitted
    if tree["type"] not in ("SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "ExplainQuery"):
        what = tree["type"].removesuffix("Query")
        raise AccessDenied(f"got a {what} statement, expected SELECT, SHOW TABLES, DESCRIBE, EXISTS or EXPLAIN")
    try:
        _Walk(reader, functions, parameters, admitted.tables).node(tree, frozenset())
    except RecursionError:
        raise MalformedInput("got a query that is nested too deeply") from None
    admitted.tree = tree
    return admitted


def named_tables(tree: object) -> set[str]:
    """The last part of the name of every table in a tree, common table expressions left out."""
    names: set[str] = set()
    defined: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
            if node.get("type") == "TableIdentifier":
                names.add(str(node["name"]).rpartition(".")[2])
            elif node.get("type") == "WithElement":
                defined.add(str(node["name"]))
    return names - defined


class _Walk:
    """One walk over a tree."""

    def __init__(
        self, reader: Reader, functions: Collection[str] | None, parameters: Mapping[str, str], tables: set[str]
    ) -> None:
        self._reader = reader
        self._functions = functions
        self._parameters = parameters
        self._tables = tables

    def node(self, node: Tree, scope: frozenset[str]) -> None:
        """Check and rewrite a node and all below it; ``scope`` are the names of the common table expressions in
        force."""
        kind = node["type"]
        if kind not in NODES:
            raise AccessDenied(f"got {kind} in the query, expected a query that reads")
        if node.get("out_file"):
            raise AccessDenied("got INTO OUTFILE, expected the result to go to you: leave the clause out")
        match kind:
            case "SelectQuery":
                scope = self._with(node, scope)
                _where_for_prewhere(node)
            case "TableExpression" if "table_function" in node:
                self._table_function(node["table_function"], scope)
                return
            case "TableIdentifier":
                self._table(node, scope)
                return
            case "Function":
                self._function(node, scope)
            case "ColumnsApplyTransformer":
                self._called(str(node.get("func_name", "")))
            case "Identifier":
                self._column(node)
            case "ExplainQuery" if node["kind"] not in EXPLAINS:
                raise AccessDenied(f"got {node['kind']}, expected one of {', '.join(sorted(EXPLAINS))}")
        self._below(node, scope, but=("with",) if kind == "SelectQuery" else ())

    def _below(self, value: object, scope: frozenset[str], but: tuple[str, ...] = ()) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in but:
                    continue
                if isinstance(item, dict) and "type" in item:
                    self.node(item, scope)
                elif isinstance(item, (dict, list)):
                    self._below(item, scope)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict) and "type" in item:
                    self.node(item, scope)
                elif isinstance(item, (dict, list)):
                    self._below(item, scope)

    def _with(self, node: Tree, scope: frozenset[str]) -> frozenset[str]:
        """Walk the WITH clause, where each name is known to what comes after it (and to itself, if recursive)."""
        for element in node.get("with", {}).get("children", []):
            if element["type"] != "WithElement":
                self.node(element, scope)
                continue
            name = frozenset({str(element["name"])})
            self._below(element, scope | name if node.get("recursive_with") else scope)
            scope |= name
        return scope

    def _table(self, node: Tree, scope: frozenset[str]) -> None:
        if node.get("children"):
            node["name_parts"] = [self._parameter(node)]
            node.pop("children")
        parts = [str(part) for part in node.get("name_parts") or [node["name"]]]
        if len(parts) == 1 and parts[0] in scope:
            node["name"] = parts[0]
            return
        name, full = self._reader.find(parts)
        self._tables.add(name)
        node["name"], node["name_parts"] = full, full.split(".")
        node.setdefault("alias", parts[-1])

    def _parameter(self, node: Tree) -> str:
        children = node["children"]
        parameter = str(children[0].get("name", "")) if len(children) == 1 else ""
        if parameter not in self._parameters:
            raise MalformedInput(f"got a table named by parameter {parameter!r}, expected a value for it")
        return self._parameters[parameter]

    def _table_function(self, node: Tree, scope: frozenset[str]) -> None:
        name = str(node["name"])
        if name.lower() not in TABLE_FUNCTIONS:
            raise AccessDenied(
                f"got table function {name}, expected a table or view, or numbers(), values(), generate_series()"
            )
        self._below(node, scope)

    def _function(self, node: Tree, scope: frozenset[str]) -> None:
        name = str(node["name"])
        if name.lower() == "currentdatabase" or name.lower() == "database":
            node.clear()
            node |= {"type": "Literal", "value": {"field_type": "String", "value": self._reader.database}}
            return
        self._called(name)
        arguments = node.get("arguments", {}).get("children", [])
        if "cast" in name.lower() and any("AggregateFunction" in _text(argument) for argument in arguments[1:]):
            raise AccessDenied(f"got {name} to an aggregate state, which the engine would read unchecked")
        if IN_FUNCTIONS.fullmatch(name) and len(arguments) == 2 and arguments[1]["type"] == "Identifier":
            self._behind_in(arguments[1], scope)

    def _behind_in(self, node: Tree, scope: frozenset[str]) -> None:
        """``x IN name``: a column, an alias or a common table expression keeps its name; a table gets its full one."""
        if node.get("children"):
            node["name_parts"] = [self._parameter(node)]
            node.pop("children")
        parts = [str(part) for part in node.get("name_parts") or [node["name"]]]
        if len(parts) == 1 and (parts[0] in scope or not self._is_known(parts[0])):
            node["name"] = parts[0]
            return
        name, full = self._reader.find(parts)
        self._tables.add(name)
        node["name"], node["name_parts"] = full, full.split(".")

    def _is_known(self, name: str) -> bool:
        return name in self._reader.tables or name in self._reader.hidden

    def _called(self, name: str) -> None:
        functions = self._functions
        if functions is not None and name.lower() not in functions and not _aggregate(name, functions):
            raise AccessDenied(f"got function {name}, which is not one that computes from its arguments alone")

    def _column(self, node: Tree) -> None:
        """``database.table.column``: tables go by their own name in what is run."""
        parts = node.get("name_parts") or []
        if len(parts) > 2 and parts[0] == self._reader.database and parts[1] in self._reader.tables:
            node["name_parts"] = parts[1:]
            node["name"] = ".".join(parts[1:])


_COMBINATORS = re.compile(
    r"(?:If|Array|Map|ForEach|Distinct|OrDefault|OrNull|Resample|State|SimpleState|Merge|MergeState|ArgMin|ArgMax)$"
)


def _aggregate(name: str, functions: Collection[str]) -> bool:
    """Whether a name is that of an aggregate function with combinators, such as ``uniqExactIf``."""
    while (shorter := _COMBINATORS.sub("", name)) != name:
        name = shorter
        if name.lower() in functions:
            return True
    return False


def _where_for_prewhere(node: Tree) -> None:
    """``PREWHERE`` as ``WHERE``: it would be for tables, and a reader has views. The result is the same."""
    prewhere = node.pop("prewhere", None)
    if prewhere is None:
        return
    where = node.get("where")
    both = {"type": "ExpressionList", "children": [prewhere, where]}
    node["where"] = {"type": "Function", "name": "and", "arguments": both} if where else prewhere


def _text(node: Tree) -> str:
    value = node.get("value")
    return str(value.get("value", "")) if isinstance(value, dict) else ""
