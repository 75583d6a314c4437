"""``identity``: which person an e-mail address, a key or a cloud principal stood for."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affidavit.cli import exits, options, output

if TYPE_CHECKING:
    from affidavit.identity.changes import Changes
    from affidavit.identity.people import Directory
    from affidavit.identity.resolving import Stretch

identity = typer.Typer(help="People and their aliases: who an actor was, as of a date.", no_args_is_help=True)

SHOWN = 20
"""Lines of a kind that are listed; ``--json`` has all."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="Our own form in JSON or TOML, or SCIM 2.0 users.")]
Tenant = Annotated[
    str, typer.Option("--tenant", help="Whose events it resolves; * for all tenants without one of their own.")
]
Keep = Annotated[
    bool,
    typer.Option("--keep", help="The file says how things are now: keep what was known of the time before."),
]


@identity.command("check")
def check(
    file: File,
    tenant: Tenant = "*",
    keep: Keep = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Read a directory and say what loading it would change. Nothing is changed.

    Exits 2 when two people hold one alias at the same time: events that have it resolve to nobody.

    Example:

    \b
      affidavit identity check people.toml
      affidavit identity check okta-users.json --keep
    """
    from affidavit.admin import Operator
    from affidavit.identity.changes import changes
    from affidavit.identity.loading import current
    from affidavit.identity.resolving import Resolver

    with Operator.at(data) as operator:
        before = current(operator.wiring.control, operator.wiring.objects, tenant)
    after = _read(file, before, keep=keep)
    conflicts = list(Resolver(after).conflicts())
    found = changes(before, after)
    if as_json:
        output.emit_json("affidavit.identity-check/1", _checked(after, found, conflicts))
    else:
        _print(after, found, conflicts)
    return exits.INCOMPLETE if conflicts else exits.DONE


@identity.command("load")
def load(
    file: File,
    tenant: Tenant = "*",
    keep: Keep = False,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Forget who is not in the file: their events resolve to nobody."),
    ] = False,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Bring a directory into force, beside a running up. Old events resolve by it too, within seconds.

    What is sealed does not change. The directory is kept in the object store under its SHA-256, as are those before.
    The load is itself on the log.

    Example:

    \b
      affidavit identity load people.toml
      affidavit identity load okta-users.json --keep --tenant acme
    """
    from affidavit.admin import Operator
    from affidavit.identity.changes import changes
    from affidavit.identity.loading import current, load_directory
    from affidavit.identity.resolving import Resolver
    from collector.internal import operator as whoami
    from schemas.errors import MalformedInput

    if not tenant.strip():
        raise MalformedInput("got an empty tenant, expected a name, or *")
    with Operator.at(data) as operator:
        before = current(operator.wiring.control, operator.wiring.objects, tenant)
        after = _read(file, before, keep=keep)
        found = changes(before, after)
        if found.removed and not remove:
            raise MalformedInput(
                f"{len(found.removed)} people of the loaded directory are not in {file} ({', '.join(found.removed[:3])}"
                f"{', …' if len(found.removed) > 3 else ''}), and their events would resolve to nobody: say --keep to "
                "keep them, or --remove"
            )
        loaded = load_directory(operator.wiring, after, tenant, whoami())
    conflicts = list(Resolver(after).conflicts())
    if as_json:
        fields = {"number": loaded.number, "sha256": loaded.sha256, "tenant": tenant}
        output.emit_json("affidavit.identity-loaded/1", fields | _checked(after, found, conflicts))
    else:
        _print(after, found, conflicts)
        output.say(f"directory {loaded.number} of tenant {tenant} is in force: sha256 {loaded.sha256}")
    return exits.DONE


@identity.command("who")
def who(
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="As a source says it, of any kind.")],
    as_of: Annotated[str, typer.Option("--as-of", metavar="TIME", help="When: a time (UTC); now when left out.")] = "",
    tenant: Tenant = "*",
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """Say who held an alias at a time, by the directory that is in force.

    Exits 2 when nobody did, or several people.

    Example:

    \b
      affidavit identity who ada@example.com
      affidavit identity who build-key-7 --as-of 2026-03-01
    """
    from affidavit.identity.aliases import FIELDS, looked_up
    from affidavit.identity.resolving import Resolver

    at_ms = _time(as_of)
    directory = _current(data, tenant)
    resolver = Resolver(directory)
    names = dict.fromkeys(looked_up(field, alias, kind) for field in FIELDS for kind in ("", "account", "sso_subject"))
    found: list[dict[str, Any]] = []
    for name, value in names:
        holders = resolver.holders(name, value, at_ms)
        people = [{"identity": one, "name": resolver.people[one].name} for one in holders]
        if people:
            found.append({"kind": name, "alias": value, "held_by": people})
    single = {one["identity"] for entry in found for one in entry["held_by"]}
    if as_json:
        output.emit_json("affidavit.identity-who/1", {"alias": alias, "as_of": _moment(at_ms), "found": found})
    else:
        rows = [(e["kind"], e["alias"], one["identity"], one["name"]) for e in found for one in e["held_by"]]
        output.table(("kind", "alias", "identity", "name"), rows)
        if len(single) != 1:
            output.say(f"{'nobody' if not single else 'several people'} held {alias!r} at {_moment(at_ms)}")
    return exits.DONE if len(single) == 1 else exits.INCOMPLETE


@identity.command("list")
def show(
    loads: Annotated[bool, typer.Option("--loads", help="List what was loaded when, instead of people.")] = False,
    tenant: Tenant = "*",
    data: options.Data = None,
    as_json: options.Json = False,
) -> None:
    """List the people of the directory that is in force, or the directories that were loaded.

    Example:

    \b
      affidavit identity list
      affidavit identity list --loads
    """
    if loads:
        _show_loads(data, as_json=as_json)
        return
    directory = _current(data, tenant)
    if as_json:
        import json

        from affidavit.identity.form import format_directory

        output.emit_json("affidavit.identity-list/1", {"people": json.loads(format_directory(directory))["people"]})
        return
    output.table(
        ("identity", "name", "team", "business unit", "active", "aliases"),
        [
            (one.identity, one.name, one.team, one.business_unit, "yes" if one.active else "no", len(one.aliases))
            for one in directory.people
        ],
        right=(5,),
    )
    if not directory.people:
        output.say("nobody is in the directory, so every actor is as its event says: affidavit identity load FILE")


@identity.command("unresolved")
def unresolved(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Begin: a time (UTC), or a span back such as 24h, 7d.")
    ] = "30d",
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's actors.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many.")] = 1000,
    url: Annotated[str | None, typer.Option("--url", help="Interface to ask, instead of the directory's own.")] = None,
    data: options.Data = None,
    as_json: options.Json = False,
) -> int:
    """List actors in the log who resolve to nobody, those with the most records first, and who vouches for them.

    Exits 2 when there are any.

    Example:

    \b
      affidavit identity unresolved --since 7d
    """
    from affidavit.engine import query_client
    from affidavit.identity.asking import unresolved as ask
    from affidavit.moments import parse_time
    from affidavit.settings import data_directory

    begin = parse_time(since, datetime.now(UTC))
    with query_client(data_directory(data), url) as client:
        found = ask(client, begin, tenant=tenant, limit=limit)
    if as_json:
        listed = [
            {
                "tenant": one.tenant,
                "aliases": dict(one.aliases),
                "assurance": one.assurance,
                "state": one.state,
                "records": one.records,
                "gateways": one.gateways,
                "first_at": _moment(one.first_ms),
                "last_at": _moment(one.last_ms),
            }
            for one in found
        ]
        output.emit_json("affidavit.identity-unresolved/1", {"since": _moment(begin), "actors": listed})
    else:
        rows = [
            (
                one.records,
                one.tenant,
                ", ".join(f"{name} {value}" for name, value in one.aliases),
                one.assurance,
                one.state,
                ", ".join(one.gateways),
                _moment(one.last_ms),
            )
            for one in found
        ]
        output.table(("records", "tenant", "actor", "assurance", "state", "gateways", "last"), rows, right=(0,))
        output.say(f"{len(found)} actors since {_moment(begin)} resolve to nobody")
    return exits.INCOMPLETE if found else exits.DONE


def _read(file: Path, before: Directory, *, keep: bool) -> Directory:
    import time

    from affidavit.identity.changes import continued
    from affidavit.identity.form import parse_directory
    from schemas.errors import ConfigurationError

    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}") from None
    read = parse_directory(data)
    return continued(before, read, time.time_ns() // 1_000_000) if keep else read


def _current(data: Path | None, tenant: str) -> Directory:
    from affidavit.admin import Operator
    from affidavit.identity.loading import current

    with Operator.at(data) as operator:
        return current(operator.wiring.control, operator.wiring.objects, tenant)


def _show_loads(data: Path | None, *, as_json: bool) -> None:
    from affidavit.admin import Operator

    with Operator.at(data) as operator:
        loads = operator.wiring.control.directories()
    if as_json:
        listed = [
            {
                "number": one.number,
                "tenant": one.tenant,
                "sha256": one.sha256,
                "loaded_at": _moment(one.loaded_ms),
                "operator": one.operator,
            }
            for one in loads
        ]
        output.emit_json("affidavit.identity-loads/1", {"loads": listed})
        return
    rows = [(one.number, one.tenant, _moment(one.loaded_ms), one.operator, one.sha256) for one in loads]
    output.table(("number", "tenant", "loaded", "by", "sha256"), rows, right=(0,))


def _checked(after: Directory, found: Changes, conflicts: list[Stretch]) -> dict[str, object]:
    def pairs(aliases: tuple[tuple[str, Any], ...]) -> list[dict[str, str]]:
        return [{"identity": identity, "kind": alias.kind, "alias": alias.value} for identity, alias in aliases]

    return {
        "people": len(after.people),
        "active": sum(person.active for person in after.people),
        "aliases": after.aliases,
        "conflicts": [
            {
                "kind": one.name,
                "alias": one.value,
                "held_by": list(one.holders),
                "from": _moment(one.from_ms),
                "until": _moment(one.until_ms),
            }
            for one in conflicts
        ],
        "added": list(found.added),
        "removed": list(found.removed),
        "left": list(found.left),
        "changed": list(found.changed),
        "aliases_added": pairs(found.aliases_added),
        "aliases_removed": pairs(found.aliases_removed),
    }


def _print(after: Directory, found: Changes, conflicts: list[Stretch]) -> None:
    active = sum(person.active for person in after.people)
    output.emit(f"{len(after.people)} people, {active} of them active, {after.aliases} aliases")
    lines = [f"added: {one}" for one in found.added]
    lines += [f"removed: {one}" for one in found.removed]
    lines += [f"left: {one}" for one in found.left]
    lines += [f"changed: {one}" for one in found.changed if one not in found.left]
    lines += [f"alias added: {identity} {alias.kind} {alias.value}" for identity, alias in found.aliases_added]
    lines += [f"alias removed: {identity} {alias.kind} {alias.value}" for identity, alias in found.aliases_removed]
    for line in lines[:SHOWN]:
        output.emit(f"  {line}")
    if len(lines) > SHOWN:
        output.emit(f"  and {len(lines) - SHOWN:,} more changes; --json has all")
    for one in conflicts[:SHOWN]:
        when = f"from {_moment(one.from_ms)} until {_moment(one.until_ms)}"
        output.emit(f"  CONFLICT: {one.name} {one.value} is held by {', '.join(one.holders)}, {when}")
    if len(conflicts) > SHOWN:
        output.emit(f"  and {len(conflicts) - SHOWN:,} more conflicts; --json has all")


def _time(text: str) -> int:
    from affidavit.moments import parse_time

    now = datetime.now(UTC)
    return parse_time(text, now) if text else int(now.timestamp() * 1000)


def _moment(milliseconds: int) -> str:
    from affidavit.identity.people import moment

    return moment(milliseconds)
