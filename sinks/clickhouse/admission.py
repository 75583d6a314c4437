"""Which queries the read-only interface admits. Pure: query text and the engine's own syntax tree in, a judgement out.

Three walls stand one behind the other, and each alone keeps a stranger's rows and the disk out of reach:

1. this module reads the syntax tree (``EXPLAIN AST``) and admits reading statements, known tables and table functions
   that touch neither disk nor network;
2. the session is ``readonly = 1``: the engine refuses writes, temporary tables, table functions and changed settings;
3. the session carries ``additional_table_filters``: the engine itself adds the tenant's condition wherever a table is
   read, in subqueries, joins and views too.

The second wall does not stop ``INTO OUTFILE``, ``file('/path')`` and the table function ``merge``; the first does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.errors import AccessDenied, MalformedInput

READING_STATEMENTS = frozenset(
    {
        "SelectWithUnionQuery",
        "SelectIntersectExceptQuery",
        "SelectQuery",
        "ShowTables",
        "ShowColumns",
        "ShowFunctions",
        "ShowSetting",
        "ShowCreateTableQuery",
        "ShowCreateViewQuery",
        "ShowCreateDatabaseQuery",
        "DescribeQuery",
        "ExistsTableQuery",
        "ExistsViewQuery",
        "ExistsDatabaseQuery",
        "Explain",
    }
)

TABLE_FUNCTIONS = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "generateseries", "generate_series", "values"}
)
"""Table functions that make rows out of their arguments alone, in lower case."""

REFUSED_FUNCTIONS = re.compile(
    r"file|dict[A-Z].*|dictionary|joinGet.*|catboostEvaluate|sleep.*|getServerSetting|getClientHTTPHeader"
    r"|hasColumnInTable|addressTo.*|demangle|tcpPort|getMacro|structureTo.*|ai[A-Z].*|reload.*|url|remote.*|executable",
    re.IGNORECASE,
)
"""Functions that read files or other tables, wait, or tell of the machine."""

SYSTEM_TABLES = frozenset(
    {
        "system.build_options",
        "system.collations",
        "system.columns",
        "system.contributors",
        "system.data_type_families",
        "system.databases",
        "system.formats",
        "system.functions",
        "system.keywords",
        "system.licenses",
        "system.numbers",
        "system.one",
        "system.settings",
        "system.table_engines",
        "system.table_functions",
        "system.tables",
        "system.time_zones",
    }
)
"""What clients ask to find their way around; none holds rows of ours (``system.query_log`` would)."""

_NODE = re.compile(r"(?P<indent> *)(?P<type>\w+)(?: (?P<name>.*?))?(?: \(alias .*\))?(?: \(children \d+\))?$")
_TOKENS = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/|;|\$\w*\$""",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What an admitted query is: its statement, the tables it names (ours without the database), its own FORMAT."""

    statement: str
    tables: frozenset[str]
    format: str

    @property
    def streams(self) -> bool:
        """Whether the engine can hand the result over piece by piece."""
        return self.statement.startswith("Select")


def single_statement(query: str) -> str:
    """The query without a closing semicolon.

    Raises:
        MalformedInput: nothing, or more than one statement (the engine would run them all).
    """
    ends = [match.start() for match in _TOKENS.finditer(query) if match.group() == ";"]
    if any(match.group().startswith("$") for match in _TOKENS.finditer(query)):
        raise MalformedInput("got a heredoc ($tag$), expected quoted text")
    if ends:
        rest = query[ends[0] + 1 :]
        for match in reversed(list(_TOKENS.finditer(rest))):
            if match.group()[0] in "-#/;":
                rest = rest[: match.start()] + " " + rest[match.end() :]
        if rest.strip():
            raise MalformedInput("got several statements, expected one: send them one by one")
        query = query[: ends[0]]
    if not query.strip():
        raise MalformedInput("got an empty query, expected one statement")
    return query


def admit(tree: str, *, database: str, hidden: frozenset[str]) -> Admitted:
    """Judge the syntax tree of one statement.

    Args:
        tree: output of ``EXPLAIN AST``, one node a line, a child one space deeper than its parent.
        database: ours; unqualified names are looked up in it.
        hidden: tables of ours that this reader may not name, without the database.

    Raises:
        AccessDenied: the statement writes, or names what the reader may not read.
    """
    tables: set[str] = set()
    statement = format_name = ""
    path: list[tuple[int, str]] = []
    for number, line in enumerate(tree.splitlines()):
        node = _NODE.match(line)
        if not node:
            continue
        depth, kind, name = len(node["indent"]), node["type"], (node["name"] or "").strip()
        while path and path[-1][0] >= depth:
            path.pop()
        parent = path[-1][1] if path else ""
        path.append((depth, kind))
        if number == 0:
            statement = kind
            if kind not in READING_STATEMENTS:
                raise AccessDenied(f"got a {kind} statement, expected SELECT, SHOW, DESCRIBE, EXISTS or EXPLAIN")
        elif depth == 1 and kind == "Literal":
            raise AccessDenied("got INTO OUTFILE, expected the result to go to you: leave the clause out")
        elif depth == 1 and kind == "Identifier":
            format_name = name
        elif kind == "Function":
            _function(name, table=parent == "TableExpression")
        elif kind in ("TableIdentifier", "Identifier"):
            table = _table(name, database, hidden, certain=kind == "TableIdentifier")
            if kind == "TableIdentifier":
                tables.add(table)
    return Admitted(statement, frozenset(tables), format_name)


def _function(name: str, *, table: bool) -> None:
    plain = name.split(" ")[0]
    if table and plain.lower() not in TABLE_FUNCTIONS and plain.lower() != "view":
        raise AccessDenied(
            f"got table function {plain}, expected a table or view, or numbers(), values(), generate_series()"
        )
    if not table and REFUSED_FUNCTIONS.fullmatch(plain):
        raise AccessDenied(f"got function {plain}, which reads outside the tables of this interface")


def _table(name: str, database: str, hidden: frozenset[str], *, certain: bool) -> str:
    """Check one identifier; a plain ``Identifier`` may be a column, or a table behind IN."""
    plain = name.split(" ")[0]
    own = plain.removeprefix(f"{database}.")
    if own in hidden:
        raise AccessDenied(f"got table {plain}, which this token may not read: its scope is query, it needs content")
    if certain and "." in own:
        if own not in SYSTEM_TABLES and not own.lower().startswith("information_schema."):
            raise AccessDenied(
                f"got table {plain}, expected one of database {database}, or a system table that describes it"
            )
    elif not certain and own.startswith("system.") and own not in SYSTEM_TABLES:
        raise AccessDenied(f"got {plain}, expected a table of database {database}")
    return own
