"""The desk at which matters and holds are changed: by whom, with what checks, and what follows in the object store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from affidavit.acts import declined
from affidavit.holds.flags import Drift, find_drift, mend
from affidavit.holds.opening import new_hold_id, now_ms, open_register
from affidavit.holds.persons import Person, recognise, require
from affidavit.holds.scopes import APPROVE, EARLY, HOLD, POLICY, SEALED
from affidavit.progress import Told, silent
from collector.internal import operator
from retention.entries import Entry
from retention.register import Hold, Matter, Register
from retention.scope import Scope, check_scope, encode_scope
from schemas.errors import AccessDenied, AffidavitError, Declined, InputError

if TYPE_CHECKING:
    from affidavit.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold that is in force; ``flags`` are those of the archive, ``problem`` why they could not be looked at."""

    hold: str
    entry: Entry
    flags: Drift
    problem: str = ""

    @property
    def status(self) -> Literal["effective", "degraded"]:
        """``degraded``: in force, and some objects of the archive are not flagged yet."""
        return "degraded" if self.problem or self.flags.failed else "effective"


class Desk:
    """Changes matters and holds, for the person whose token is in the environment. Blocks."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.store = open_register(wiring)

    def create_matter(self, matter: str, name: str, tenant: str, facts: Mapping[str, Any]) -> Entry:
        """Open a matter. ``facts``: court, docket, counsel, privileged, sealed."""
        with self._asked("matter.create", matter=matter):
            return self._create_matter(matter, name, tenant, facts)

    def _create_matter(self, matter: str, name: str, tenant: str, facts: Mapping[str, Any]) -> Entry:
        person = require(self._wiring.control, HOLD, tenant)
        if not matter.strip() or matter != matter.strip() or not matter.isprintable():
            raise Declined(f"got matter number {matter!r}, expected text without white space around it")
        if not name.strip() or not tenant.strip():
            raise Declined("got an empty name or tenant, expected what the matter is called and whose it is")
        details = {"matter": matter, "name": name, "tenant": tenant, **{key: one for key, one in facts.items() if one}}
        return self._add("matter.create", details, person)

    def close_matter(self, matter: str, reason: str) -> Entry:
        """Close a matter whose holds are all released."""
        with self._asked("matter.close", matter=matter):
            found = self.seen_matter(matter)
            person = require(self._wiring.control, HOLD, found.tenant)
            if not reason.strip():
                raise Declined("got no reason, expected why: --reason")
            return self._add("matter.close", {"matter": matter, "reason": reason}, person)

    def place(
        self,
        matter: str,
        kind: Literal["hold", "freeze"],
        scope: Scope,
        reason: str,
        *,
        plan: str = "",
        lapses_ms: int | None = None,
        counted: int | None = None,
        told: Told = silent,
    ) -> Placed:
        """Place a hold; return when it is in force, with the flags of the archive that were set."""
        with self._asked("hold.place", matter=matter):
            self.seen_matter(matter)
            person = require(self._wiring.control, HOLD, scope.tenant)
            check_scope(scope)
            name = new_hold_id(kind)
            details: dict[str, Any] = {
                "hold": name,
                "matter": matter,
                "kind": kind,
                "scope": encode_scope(scope),
                "reason": reason,
                "plan": plan,
            }
            if lapses_ms is not None:
                details["lapses_ms"] = lapses_ms
            if counted is not None:
                details["counted"] = counted
            return self._flagged(name, self._add("hold.place", details, person), scope.tenant, told)

    def extend(
        self, hold: str, scope: Scope, reason: str, *, plan: str = "", counted: int | None = None, told: Told = silent
    ) -> Placed:
        """Add a scope to a hold."""
        with self._asked("hold.extend", hold=hold):
            self.seen_hold(hold)
            person = require(self._wiring.control, HOLD, scope.tenant)
            check_scope(scope)
            details: dict[str, Any] = {"hold": hold, "scope": encode_scope(scope), "reason": reason, "plan": plan}
            if counted is not None:
                details["counted"] = counted
            return self._flagged(hold, self._add("hold.extend", details, person), scope.tenant, told)

    def request_release(self, hold: str, matter: str, clauses: Sequence[int], reason: str) -> Entry:
        """Ask that a hold, or some of its scopes, be released; another person has to approve it."""
        with self._asked("release.request", hold=hold):
            found = self._named(hold, matter)
            person = require(self._wiring.control, HOLD, self.matter_of(found).tenant)
            wanted = list(clauses) or [one.number for one in found.clauses if one.state(now_ms()) == "effective"]
            return self._add("release.request", {"hold": hold, "clauses": wanted, "reason": reason}, person)

    def request_early_end(self, hold: str, matter: str, reason: str) -> Entry:
        """Ask that the delay of a release end now; another person has to approve it, and both must be allowed to."""
        with self._asked("early.request", hold=hold):
            found = self._named(hold, matter)
            person = require(self._wiring.control, EARLY, self.matter_of(found).tenant)
            wanted = [one.number for one in found.clauses if one.state(now_ms()) == "releasing"]
            return self._add("early.request", {"hold": hold, "clauses": wanted, "reason": reason}, person)

    def approve(self, hold: str, matter: str) -> Entry:
        """Approve what somebody else has asked for."""
        with self._asked("release.approve", hold=hold):
            found = self._named(hold, matter)
            tenant = self.matter_of(found).tenant
            if found.request is not None and found.request.kind == "early":
                return self._add("early.approve", {"hold": hold}, require(self._wiring.control, EARLY, tenant))
            days = self._wiring.settings.retention.release_delay_days
            person = require(self._wiring.control, APPROVE, tenant)
            return self._add("release.approve", {"hold": hold, "delay_days": days}, person)

    def cancel(self, hold: str, reason: str) -> Entry:
        """Take back what was asked for, or a release whose delay is running. Who may place may do that."""
        with self._asked("release.cancel", hold=hold):
            found = self.seen_hold(hold)
            if not reason.strip():
                raise Declined("got no reason, expected why: --reason")
            tenant = self.matter_of(found).tenant
            person = recognise(self._wiring.control)
            scope = APPROVE if person is not None and HOLD not in person.scopes else HOLD
            return self._add(
                "release.cancel", {"hold": hold, "reason": reason}, require(self._wiring.control, scope, tenant)
            )

    def apply_policy(self, document: Mapping[str, Any], reason: str) -> Entry:
        """Apply a retention policy; one that shortens anything waits for another person's approval."""
        version = str(document.get("version"))
        with self._asked("policy.apply", version=version):
            person = require(self._wiring.control, POLICY, "*")
            return self._add("policy.apply", {"document": document, "reason": reason}, person)

    def approve_policy(self, version: int) -> Entry:
        """Approve a policy that somebody else has asked for."""
        with self._asked("policy.approve", version=str(version)):
            person = require(self._wiring.control, APPROVE, "*")
            return self._add("policy.approve", {"version": version}, person)

    def cancel_policy(self, version: int, reason: str) -> Entry:
        """Take back a policy that waits for approval."""
        with self._asked("policy.cancel", version=str(version)):
            person = require(self._wiring.control, POLICY, "*")
            return self._add("policy.cancel", {"version": version, "reason": reason}, person)

    def seen_matter(self, name: str) -> Matter:
        """A matter that the person may see.

        Raises:
            Declined: there is none.
            AccessDenied: it is sealed.
        """
        matter = self.store.read().matter(name)
        if not may_see(matter, recognise(self._wiring.control)):
            raise AccessDenied(f"matter {name} is sealed: it takes a token with the scope {SEALED}")
        return matter

    def seen_hold(self, name: str) -> Hold:
        """A hold of a matter that the person may see."""
        hold = self.store.read().known(name)
        self.seen_matter(hold.matter)
        return hold

    def matter_of(self, hold: Hold) -> Matter:
        """The matter of a hold."""
        return self.store.read().matter(hold.matter)

    @contextmanager
    def _asked(self, what: str, **names: str) -> Iterator[None]:
        """What is declined is on the log too: it may be the trace of somebody who tries."""
        try:
            yield
        except InputError as error:
            register = self.store.read()
            hold = register.holds.get(names.get("hold", ""))
            matter = register.matters.get(hold.matter if hold is not None else names.get("matter", ""))
            try:
                person = recognise(self._wiring.control)
            except AccessDenied:
                person = None
            reason = "" if matter is not None and matter.sealed else str(error)
            tenant = "" if matter is None or matter.tenant == "*" else matter.tenant
            who = (person.name, person.token_id) if person is not None else (operator(), "")
            self._wiring.audit().record_blocking(declined(what, names, *who, reason, tenant))
            raise

    def _named(self, hold: str, matter: str) -> Hold:
        """The hold, if whoever names it knows which matter it is of."""
        found = self.seen_hold(hold)
        if found.matter != matter:
            raise Declined(
                f"hold {hold} is not of matter {matter!r}: give the number of its matter with --matter, so that no "
                "other hold is released by mistake"
            )
        return found

    def _add(self, what: str, details: Mapping[str, Any], person: Person) -> Entry:
        return self.store.add(what, details, person.name, person.token_id)

    def _flagged(self, hold: str, entry: Entry, tenant: str, told: Told) -> Placed:
        """Set the flags that follow from the register. The hold is in force whether it succeeds or not."""
        try:
            drift = find_drift(self._wiring.objects, self.store.read(), entry.at_ms, [tenant], told)
            mend(self._wiring.objects, drift, told=told)
        except AffidavitError as error:
            return Placed(hold, entry, Drift(), f"{type(error).__name__}: {error}")
        return Placed(hold, entry, drift)


def may_see(matter: Matter, person: Person | None) -> bool:
    """Whether a person may see what a matter is about: a sealed one is for whoever opened it, and who may see all."""
    if not matter.sealed:
        return True
    return person is not None and (person.name == matter.opened_by or SEALED in person.scopes)


def visible(register: Register, person: Person | None) -> list[Matter]:
    """The matters that a person may see."""
    return [matter for matter in register.matters.values() if may_see(matter, person)]
