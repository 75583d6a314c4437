"""The register of matters and holds: what may happen to them, and what has happened. Pure.

It is a sequence of entries, each naming the hash of the one before; the state follows from them. ``register_store.py``
keeps it in the object store and in the control database. What must be true of every entry:

* a matter is closed only when none of its holds is in force, and then nothing more is placed in it;
* what was placed ends in two steps by two people: one requests, another approves, and then a delay begins, in which it
  is still held and either may cancel. To end the delay before its time takes two people again, who may;
* a hold is a union of scopes, so it can be extended at any time, and narrowed by ending some of its scopes;
* an investigation freeze is a hold that may have a time at which it ends by itself;
* a retention policy that would let anything be destroyed earlier comes into force when a second person approves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from retention.entries import FIRST, WHATS, Entry, digest_of, encode_entry
from retention.policy import Policy, parse_policy, shortens
from retention.scope import Scope, check_scope, decode_scope
from schemas.errors import Declined, LedgerContradiction, MalformedInput

DAY_MS = 86_400_000
MAX_DELAY_DAYS = 3650

State = Literal["effective", "releasing", "released"]


@dataclass(frozen=True, slots=True)
class Matter:
    """Why things are held: a case, an investigation, a subpoena."""

    matter: str
    name: str
    tenant: str
    opened_ms: int
    opened_by: str
    court: str = ""
    docket: str = ""
    counsel: str = ""
    privileged: bool = False
    sealed: bool = False
    closed_ms: int | None = None
    closed_by: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """One scope of a hold.

    Attributes:
        number: within the hold, from 1.
        lapses_ms: when it ends by itself, of a freeze that does.
        ends_ms: when the delay of its release ends, once that was approved.
    """

    number: int
    scope: Scope
    placed_ms: int
    placed_by: str
    reason: str
    lapses_ms: int | None = None
    ends_ms: int | None = None

    def state(self, now_ms: int) -> State:
        """What it is at a time."""
        if any(end is not None and now_ms >= end for end in (self.lapses_ms, self.ends_ms)):
            return "released"
        return "effective" if self.ends_ms is None else "releasing"


@dataclass(frozen=True, slots=True)
class Request:
    """What one person wants and another has to approve: that clauses end, or that their delay does."""

    kind: Literal["release", "early"]
    clauses: tuple[int, ...]
    by: str
    at_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for a matter."""

    hold: str
    matter: str
    kind: Literal["hold", "freeze"]
    clauses: tuple[Clause, ...]
    request: Request | None = None

    @property
    def placed_ms(self) -> int:
        return self.clauses[0].placed_ms

    @property
    def placed_by(self) -> str:
        return self.clauses[0].placed_by

    def state(self, now_ms: int) -> State:
        """``effective`` while one of its clauses is, ``released`` when all are."""
        states = {clause.state(now_ms) for clause in self.clauses}
        return "effective" if "effective" in states else "releasing" if "releasing" in states else "released"

    def in_force(self, now_ms: int) -> list[Clause]:
        """The clauses that still hold."""
        return [clause for clause in self.clauses if clause.state(now_ms) != "released"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A retention policy that somebody applied, or asked for."""

    policy: Policy
    document: Mapping[str, Any]
    by: str
    at_ms: int
    reason: str


@dataclass(slots=True)
class Register:
    """The state after some entries."""

    number: int = 0
    digest: str = FIRST
    last_ms: int = 0
    matters: dict[str, Matter] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    policy: Applied | None = None
    policy_asked: Applied | None = None

    def holds_of(self, matter: str) -> list[Hold]:
        """All holds of a matter, in the order of placing."""
        return [hold for hold in self.holds.values() if hold.matter == matter]

    def in_force(self, now_ms: int) -> Iterator[tuple[Hold, Clause]]:
        """Everything that holds something at a time."""
        for hold in self.holds.values():
            for clause in hold.in_force(now_ms):
                yield hold, clause

    def next(self, what: str, details: Mapping[str, Any], by: str, token_id: str, at_ms: int) -> Entry:
        """The entry that says so. Its time is not before that of the last one, whatever the clock says.

        Raises:
            Declined: it may not be; with what would do.
            MalformedInput: a scope that may not be.
        """
        entry = Entry(self.number + 1, self.digest, max(at_ms, self.last_ms), by, token_id, what, dict(details))
        self.copy()._take(entry)
        return entry

    def copy(self) -> Register:
        """The same state, to be changed by itself."""
        return replace(self, matters=dict(self.matters), holds=dict(self.holds))

    def apply(self, entry: Entry) -> None:
        """Let it have happened.

        Raises:
            LedgerContradiction: it cannot have happened after the ones before: the register was changed.
        """
        if (entry.number, entry.previous) != (self.number + 1, self.digest) or entry.at_ms < self.last_ms:
            raise LedgerContradiction(f"register of holds: entry {entry.number} does not follow entry {self.number}")
        try:
            self._take(entry)
        except (Declined, MalformedInput, KeyError, TypeError) as error:
            raise LedgerContradiction(f"register of holds: entry {entry.number} cannot be: {error}") from error
        self.number, self.digest, self.last_ms = entry.number, digest_of(encode_entry(entry)), entry.at_ms

    def _take(self, entry: Entry) -> None:
        if not entry.by:
            raise Declined("got no person: who does this must be known")
        match entry.what:
            case "matter.create":
                self._create(entry)
            case "matter.close":
                self._close(entry)
            case "hold.place":
                self._place(entry)
            case "hold.extend":
                self._extend(entry)
            case "release.request" | "early.request":
                self._request(entry)
            case "release.approve" | "early.approve":
                self._approve(entry)
            case "release.cancel":
                self._cancel(entry)
            case "policy.apply":
                self._apply_policy(entry)
            case "policy.approve" | "policy.cancel":
                self._answer_policy(entry)
            case other:
                raise Declined(f"got {other!r}, expected one of {', '.join(WHATS)}")

    def _create(self, entry: Entry) -> None:
        given = dict(entry.details)
        name = given["matter"]
        if name in self.matters:
            raise Declined(f"there is a matter {name}, of {self.matters[name].opened_by}: give this one another number")
        self.matters[name] = Matter(opened_ms=entry.at_ms, opened_by=entry.by, **given)

    def _close(self, entry: Entry) -> None:
        matter = self.open_matter(entry.details["matter"])
        still = [hold.hold for hold in self.holds_of(matter.matter) if hold.state(entry.at_ms) != "released"]
        if still:
            raise Declined(
                f"matter {matter.matter} has holds that are not released: {', '.join(still)}: release them first "
                "(hold release), and wait for the end of the delay"
            )
        self.matters[matter.matter] = replace(matter, closed_ms=entry.at_ms, closed_by=entry.by)

    def _place(self, entry: Entry) -> None:
        given = entry.details
        name, kind = given["hold"], given["kind"]
        matter = self.open_matter(given["matter"])
        if name in self.holds:
            raise Declined(f"there is a hold {name}")
        clause = self._clause(1, entry, matter)
        for other in self.holds_of(matter.matter):
            same = [one.number for one in other.in_force(entry.at_ms) if one.scope == clause.scope]
            if same and other.kind == kind:
                raise Declined(f"hold {other.hold} of matter {matter.matter} is the same, and in force: nothing to do")
        if given.get("lapses_ms") is not None and kind != "freeze":
            raise Declined("got a hold with a time at which it ends by itself: only an investigation freeze has one")
        self.holds[name] = Hold(name, matter.matter, kind, (clause,))

    def _extend(self, entry: Entry) -> None:
        hold = self.known(entry.details["hold"])
        matter = self.open_matter(hold.matter)
        if hold.state(entry.at_ms) == "released":
            raise Declined(f"hold {hold.hold} is released: place another one")
        clause = self._clause(len(hold.clauses) + 1, entry, matter)
        if any(one.scope == clause.scope and one.state(entry.at_ms) == "effective" for one in hold.clauses):
            raise Declined(f"hold {hold.hold} has this scope: nothing to do")
        self.holds[hold.hold] = replace(hold, clauses=(*hold.clauses, clause))

    def _clause(self, number: int, entry: Entry, matter: Matter) -> Clause:
        scope, reason = decode_scope(entry.details["scope"]), entry.details["reason"]
        check_scope(scope)
        if matter.tenant not in ("*", scope.tenant):
            raise Declined(f"matter {matter.matter} is of tenant {matter.tenant}, the scope of {scope.tenant}")
        if not reason.strip():
            raise Declined("got no reason, expected why: --reason")
        lapses_ms = entry.details.get("lapses_ms")
        if lapses_ms is not None and lapses_ms <= entry.at_ms:
            raise Declined("got a freeze that has ended already, expected a time to come")
        return Clause(number, scope, entry.at_ms, entry.by, reason, lapses_ms)

    def _request(self, entry: Entry) -> None:
        hold = self.known(entry.details["hold"])
        early, wanted = entry.what == "early.request", tuple(entry.details["clauses"])
        if not entry.details["reason"].strip():
            raise Declined("got no reason, expected why: --reason")
        if hold.request is not None:
            raise Declined(
                f"hold {hold.hold}: {hold.request.by} has asked for this already; somebody else approves it (hold "
                "approve), or it is taken back (hold cancel)"
            )
        needed = "releasing" if early else "effective"
        by_number = {clause.number: clause for clause in hold.clauses}
        for number in wanted:
            if number not in by_number:
                raise Declined(f"hold {hold.hold} has no scope {number}, expected one of 1 to {len(hold.clauses)}")
            state = by_number[number].state(entry.at_ms)
            if state != needed:
                raise Declined(f"hold {hold.hold}, scope {number} is {state}, expected one that is {needed}")
        if not wanted:
            raise Declined(f"hold {hold.hold} has no scope that is {needed}")
        kind: Literal["release", "early"] = "early" if early else "release"
        request = Request(kind, wanted, entry.by, entry.at_ms, entry.details["reason"])
        self.holds[hold.hold] = replace(hold, request=request)

    def _approve(self, entry: Entry) -> None:
        hold = self.known(entry.details["hold"])
        request, kind = hold.request, entry.what.partition(".")[0]
        if request is None or request.kind != kind:
            raise Declined(f"hold {hold.hold}: nobody has asked for this: see hold status {hold.hold}")
        if entry.by == request.by:
            raise Declined(f"hold {hold.hold}: {entry.by} has asked for this, and cannot approve it: it takes another")
        days = entry.details.get("delay_days", 0)
        if not 0 <= days <= MAX_DELAY_DAYS or (kind == "early" and days):
            raise Declined(f"got a delay of {days} days, expected 0 to {MAX_DELAY_DAYS}")
        ends_ms = entry.at_ms + days * DAY_MS
        self._end(hold, request.clauses, ends_ms)

    def _end(self, hold: Hold, numbers: Sequence[int], ends_ms: int) -> None:
        clauses = tuple(
            replace(clause, ends_ms=ends_ms) if clause.number in numbers else clause for clause in hold.clauses
        )
        self.holds[hold.hold] = replace(hold, clauses=clauses, request=None)

    def _cancel(self, entry: Entry) -> None:
        hold = self.known(entry.details["hold"])
        running = [one.number for one in hold.clauses if one.state(entry.at_ms) == "releasing"]
        if hold.request is None and not running:
            raise Declined(f"hold {hold.hold}: no release was asked for, and none is under way: nothing to cancel")
        if hold.request is not None:
            self.holds[hold.hold] = replace(hold, request=None)
            return
        clauses = tuple(
            replace(clause, ends_ms=None) if clause.number in running else clause for clause in hold.clauses
        )
        self.holds[hold.hold] = replace(hold, clauses=clauses)

    def _apply_policy(self, entry: Entry) -> None:
        given = entry.details
        new = parse_policy(given["document"])
        if not given["reason"].strip():
            raise Declined("got no reason, expected why: --reason")
        if (asked := self.policy_asked) is not None:
            raise Declined(
                f"version {asked.policy.version} of the policy, asked for by {asked.by}, waits for approval: approve "
                "it (policy approve), or take it back (policy cancel)"
            )
        if self.policy is not None and new.version <= (now := self.policy.policy.version):
            raise Declined(f"got version {new.version}, and version {now} is in force: give it a higher one")
        applied = Applied(new, given["document"], entry.by, entry.at_ms, given["reason"])
        if shortens(self.policy.policy if self.policy is not None else None, new):
            self.policy_asked = applied
        else:
            self.policy = applied

    def _answer_policy(self, entry: Entry) -> None:
        asked = self.policy_asked
        if asked is None or asked.policy.version != entry.details["version"]:
            raise Declined(f"no version {entry.details['version']} of the policy waits for approval: see policy show")
        if entry.what == "policy.approve":
            if entry.by == asked.by:
                raise Declined(f"{entry.by} has asked for this policy, and cannot approve it: it takes another")
            self.policy = asked
        self.policy_asked = None

    def open_matter(self, name: str) -> Matter:
        """A matter that is not closed.

        Raises:
            Declined: there is none.
        """
        matter = self.matter(name)
        if matter.closed_ms is not None:
            raise Declined(f"matter {name} was closed by {matter.closed_by}: create another one")
        return matter

    def matter(self, name: str) -> Matter:
        """A matter.

        Raises:
            Declined: there is none.
        """
        if name not in self.matters:
            raise Declined(f"there is no matter {name}: affidavit matter list shows them, matter create makes one")
        return self.matters[name]

    def known(self, name: str) -> Hold:
        """A hold.

        Raises:
            Declined: there is none.
        """
        if name not in self.holds:
            raise Declined(f"there is no hold {name}: affidavit hold list shows them")
        return self.holds[name]


def replay(entries: Iterable[Entry], until_ms: int | None = None) -> Register:
    """The register after all entries, or after those up to and including a time.

    Raises:
        LedgerContradiction: they do not follow each other.
    """
    register = Register()
    for entry in entries:
        if until_ms is not None and entry.at_ms > until_ms:
            break
        register.apply(entry)
    return register
