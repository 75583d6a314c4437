"""What the commands of ``hold`` have in common: the options of a scope, and from them the scope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from affidavit.query import QueryClient
    from affidavit.wiring import Wiring
    from retention.scope import Scope

Custodian = Annotated[
    list[str],
    typer.Option("--custodian", metavar="WHO", help="An identity of the directory of people, or an alias; repeatable."),
]
Group = Annotated[
    list[str],
    typer.Option("--group", metavar="GROUP", help="People of a group, team or unit, and who joins it; repeatable."),
]
Session = Annotated[list[str], typer.Option("--session", metavar="ID", help="Session or conversation; * is anything.")]
Agent = Annotated[list[str], typer.Option("--agent", metavar="AGENT", help="Id or name of an agent; * is anything.")]
Tool = Annotated[list[str], typer.Option("--tool", metavar="TOOL", help="Tool, or its server; * is anything.")]
Model = Annotated[list[str], typer.Option("--model", metavar="MODEL", help="Model, asked for or used; * is anything.")]
Gateway = Annotated[list[str], typer.Option("--gateway", metavar="NAME", help="Gateway; * is anything.")]
Query = Annotated[
    str, typer.Option("--query", metavar="WORDS", help='Words and "phrases" of the content; all must occur; word* too.')
]
From = Annotated[str, typer.Option("--from", metavar="TIME", help="Inclusive; UTC unless it says otherwise.")]
To = Annotated[str, typer.Option("--to", metavar="TIME", help="Exclusive; UTC unless it says otherwise.")]
Prospective = Annotated[bool, typer.Option("--prospective", help="Also what arrives from now on.")]
Everything = Annotated[bool, typer.Option("--everything", help="Nothing but tenant and time narrows it down.")]
Matter = Annotated[str, typer.Option("--matter", metavar="NUMBER", help="The matter.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with it.")]
Plan = Annotated[
    str, typer.Option("--plan", metavar="HASH", help="What hold preview printed; declined if it is another by now.")
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A scope as it was asked for, before names are people."""

    custodians: Sequence[str]
    groups: Sequence[str]
    lists: dict[str, Sequence[str]]
    query: str
    begin: str
    end: str
    prospective: bool
    everything: bool

    def scope(self, wiring: Wiring, tenant: str, client: QueryClient | None) -> Scope:
        """The scope, with all aliases of the custodians."""
        from affidavit.holds.custodians import directory_for, find_custodians, find_members
        from affidavit.moments import parse_time
        from retention.scope import Scope, check_scope
        from retention.words import parse_words

        now = datetime.now(UTC)
        people: list[Any] = []
        if self.custodians or self.groups:
            directory = directory_for(wiring.control, wiring.objects, tenant)
            people = find_custodians(directory, self.custodians, client, tenant) + find_members(directory, self.groups)
        made = Scope(
            tenant,
            tuple(dict.fromkeys(people)),
            tuple(dict.fromkeys(self.groups)),
            **{name: tuple(dict.fromkeys(values)) for name, values in self.lists.items()},
            terms=parse_words(self.query) if self.query else (),
            from_ms=parse_time(self.begin, now) if self.begin else None,
            until_ms=parse_time(self.end, now) if self.end else None,
            prospective=self.prospective,
            everything=self.everything,
        )
        check_scope(made)
        return made


def wanted(
    custodian: Sequence[str],
    group: Sequence[str],
    session: Sequence[str],
    agent: Sequence[str],
    tool: Sequence[str],
    model: Sequence[str],
    gateway: Sequence[str],
    query: str,
    begin: str,
    end: str,
    prospective: bool,
    everything: bool,
) -> Wanted:
    """What the options of a command ask for."""
    lists: dict[str, Sequence[str]] = {
        "sessions": session,
        "agents": agent,
        "tools": tool,
        "models": model,
        "gateways": gateway,
    }
    return Wanted(custodian, group, lists, query, begin, end, prospective, everything)


@contextmanager
def declining() -> Iterator[None]:
    """Whatever is wrong with what was asked for, a command of matters and holds declines it: exit code 2, and nothing
    was changed."""
    from schemas.errors import AccessDenied, Declined, InputError

    try:
        yield
    except (Declined, AccessDenied):
        raise
    except InputError as error:
        raise Declined(str(error)) from error


@contextmanager
def asking(wiring: Wiring) -> Iterator[QueryClient | None]:
    """ClickHouse, if it can be asked: a hold must not wait for it."""
    from affidavit.cli import output
    from affidavit.engine import query_client
    from schemas.errors import AffidavitError

    manager = query_client(wiring.layout)
    try:
        client = manager.__enter__()
        client.ask("SELECT 1")
    except AffidavitError as error:
        output.say(f"ClickHouse cannot be asked, so nothing is counted: {error}")
        yield None
        return
    try:
        yield client
    finally:
        manager.__exit__(None, None, None)


def at(data: Path | None) -> Wiring:
    """The parts of a data directory's deployment."""
    from affidavit.settings import data_directory, load
    from affidavit.wiring import Wiring

    layout = data_directory(data)
    return Wiring(layout, load(layout))
