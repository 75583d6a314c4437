"""The policy: whom a verifier believes, and how many of them must agree (C2SP tlog-policy). Pure.

::

    log <vkey> [<url>]                     a key of the deployment; under its name it stands for all of its logs
    witness <name> <vkey> [<url>]          a cosigner of the anchor log
    group <name> all|any|<k> <members…>
    quorum <name>|none                     exactly once

What tlog-policy has no words for stands in comment lines that begin with ``#: ``, so that its other readers still take
the file. An unknown one is an error, for a misspelt rule would be no rule::

    #: authority <name> <certificate> [<issuer> …]   an RFC 3161 authority: base64 DER, its own first, pinned
    #: authorities <k>                               so many of them must vouch; 1 where any is listed
    #: rekor <name> <vkey>                           a Rekor v2 log
    #: max-age <seconds>                             how long ago they last vouched, at most
    #: revoked <vkey> <time>                         a key of the deployment that others may have had since then (RFC
                                                     3339); what it signed counts where it was vouched for before
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from schemas.errors import MalformedInput
from signer import strict_base64
from signer.note import COSIGNATURE_V1, ED25519, VerifierKey, format_vkey, parse_vkey
from signer.trust import Trust, parse_trust

NONE = "none"
_OWN = "#: "


@dataclass(frozen=True, slots=True)
class Witness:
    """A cosigner, its key (of type 0x04), and where it listens (``""`` where the policy does not say)."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """``needed`` of its ``members``, which are witnesses or earlier groups."""

    name: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """A time-stamping authority: its certificates in DER, its own first."""

    name: str
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Revoked:
    """A key of the deployment, and since when somebody else may have it, milliseconds since 1970 UTC."""

    public_key: bytes
    since_ms: int


@dataclass(frozen=True, slots=True)
class RekorLog:
    """A Rekor v2 log; its key's name is the origin of its checkpoints."""

    name: str
    key: VerifierKey


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as parsed.

    Attributes:
        trust: the deployment and its keys.
        witnesses, groups, quorum: ``quorum`` is ``""`` where none is asked for.
        authorities, authorities_needed, rekor: see the module.
        max_age_seconds: ``None`` where the policy sets no bound.
        revoked: keys of the deployment that must not be believed for what came later.
        digest: SHA-256 of the file; 32 zero bytes of a policy that was not read from one.
    """

    trust: Trust
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = ""
    authorities: tuple[Authority, ...] = ()
    authorities_needed: int = 0
    rekor: tuple[RekorLog, ...] = ()
    max_age_seconds: int | None = None
    revoked: tuple[Revoked, ...] = ()
    digest: bytes = field(default=bytes(32), compare=False)

    def cosigned(self, names: Collection[str]) -> bool:
        """Whether cosignatures of these witnesses meet the quorum."""
        met = set(names)
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.needed:
                met.add(group.name)
        return not self.quorum or self.quorum in met

    @property
    def asks_for_anchors(self) -> bool:
        """Whether anything from outside must vouch."""
        return bool(self.quorum) or self.authorities_needed > 0

    def demands(self) -> str:
        """What must vouch, in words."""
        words = [f"quorum {self.quorum}"] if self.quorum else []
        if self.authorities_needed:
            names = ", ".join(one.name for one in self.authorities)
            words.append(f"{self.authorities_needed} of the authorities {names}")
        return " and ".join(words) or "nobody"


def policy_of(trust: Trust) -> Policy:
    """The policy that asks for nothing but the deployment's own signature."""
    return Policy(trust)


def parse_policy(data: bytes) -> Policy:
    """Read a policy file.

    Raises:
        MalformedInput: a line that is no rule, a name that is unknown, taken or in two groups, keys of several
            deployments, no quorum line or several; the message has the line's number.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedInput(f"got a policy that is not UTF-8 at byte {error.start}") from None
    reader = _Reader()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            reader.read(line.strip(" \t\r"))
        except MalformedInput as error:
            raise MalformedInput(f"policy line {number}: {error}") from None
    return reader.policy(hashlib.sha256(data).digest())


def format_policy(policy: Policy) -> bytes:
    """The text of a policy; :func:`parse_policy` reads it back."""
    trust = policy.trust
    lines = [f"log {format_vkey(VerifierKey(trust.deployment, key))}" for key in trust.public_keys]
    lines += [f"witness {one.name} {format_vkey(one.key)} {one.url}".rstrip() for one in policy.witnesses]
    lines += [f"group {one.name} {one.needed} {' '.join(one.members)}" for one in policy.groups]
    lines.append(f"quorum {policy.quorum or NONE}")
    for authority in policy.authorities:
        chain = " ".join(strict_base64.encode(der) for der in authority.chain)
        lines.append(f"{_OWN}authority {authority.name} {chain}")
    if policy.authorities:
        lines.append(f"{_OWN}authorities {policy.authorities_needed}")
    lines += [f"{_OWN}rekor {one.name} {format_vkey(one.key)}" for one in policy.rekor]
    if policy.max_age_seconds is not None:
        lines.append(f"{_OWN}max-age {policy.max_age_seconds}")
    for one in policy.revoked:
        key = VerifierKey(trust.deployment, one.public_key)
        moment = datetime.fromtimestamp(one.since_ms / 1000, UTC).isoformat(timespec="milliseconds")
        lines.append(f"{_OWN}revoked {format_vkey(key)} {moment.replace('+00:00', 'Z')}")
    return "".join(f"{line}\n" for line in lines).encode()


class _Reader:
    """The rules read so far."""

    def __init__(self) -> None:
        self._logs: list[str] = []
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum: str | None = None
        self._authorities: dict[str, Authority] = {}
        self._needed: int | None = None
        self._rekor: dict[str, RekorLog] = {}
        self._max_age: int | None = None
        self._revoked: list[Revoked] = []

    def read(self, line: str) -> None:
        if line.startswith(_OWN):
            self._read_own(line.removeprefix(_OWN).split())
        elif line and not line.startswith("#"):
            self._read(line.split())

    def policy(self, digest: bytes) -> Policy:
        if self._quorum is None:
            raise MalformedInput("got a policy without a quorum line, expected one: 'quorum none' where none is asked")
        needed = self._needed if self._needed is not None else min(1, len(self._authorities))
        if needed > len(self._authorities):
            raise MalformedInput(f"got authorities {needed}, and the policy lists {len(self._authorities)}")
        return Policy(
            parse_trust(self._logs),
            tuple(self._witnesses.values()),
            tuple(self._groups.values()),
            self._quorum,
            tuple(self._authorities.values()),
            needed,
            tuple(self._rekor.values()),
            self._max_age,
            self._checked_revoked(),
            digest,
        )

    def _read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey] | ["log", vkey, _]:
                self._logs.append(vkey)
                parse_trust(self._logs)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                key = parse_vkey(vkey)
                if key.algorithm != COSIGNATURE_V1:
                    raise MalformedInput(f"got witness key {vkey[:120]!r}, expected one of type 0x04 (cosignature/v1)")
                if any(key.public_key == other.key.public_key for other in self._witnesses.values()):
                    raise MalformedInput(f"got the key of witness {name} twice: two cosigners must not share one")
                self._witnesses[self._new(name)] = Witness(name, key, words[3] if len(words) > 3 else "")
            case ["group", name, needed, *members] if members:
                self._groups[self._new(name)] = Group(name, _needed(needed, len(members)), self._join(members))
            case ["quorum", name] if self._quorum is None:
                if name != NONE:
                    self._known(name)
                self._quorum = "" if name == NONE else name
            case ["quorum", _]:
                raise MalformedInput("got a second quorum line, expected one")
            case _:
                raise MalformedInput(f"got {' '.join(words)[:120]!r}, expected log, witness, group or quorum")

    def _read_own(self, words: list[str]) -> None:
        match words:
            case ["authority", name, *chain] if chain and name not in self._authorities:
                self._authorities[name] = Authority(name, tuple(strict_base64.decode(one) for one in chain))
            case ["authorities", number] if self._needed is None:
                self._needed = _number(number)
            case ["rekor", name, vkey] if name not in self._rekor:
                key = parse_vkey(vkey)
                if key.algorithm != ED25519:
                    raise MalformedInput(f"got Rekor key {vkey[:120]!r}, expected one of type 0x01 (Ed25519)")
                self._rekor[name] = RekorLog(name, key)
            case ["revoked", vkey, moment]:
                self._revoked.append(Revoked(parse_vkey(vkey).public_key, _moment(moment)))
            case ["max-age", number] if self._max_age is None:
                self._max_age = _number(number)
            case _:
                raise MalformedInput(
                    f"got {_OWN}{' '.join(words)[:120]!r}, expected authority, authorities, rekor, "
                    "max-age or revoked, each name and each number once"
                )

    def _checked_revoked(self) -> tuple[Revoked, ...]:
        strange = {one.public_key for one in self._revoked} - set(parse_trust(self._logs).public_keys)
        if strange:
            raise MalformedInput("got a revoked key that no log line has: keep its log line, for what came before")
        return tuple(self._revoked)

    def _new(self, name: str) -> str:
        if name == NONE or name in self._witnesses or name in self._groups:
            raise MalformedInput(f"got name {name!r}, which is taken")
        return name

    def _known(self, name: str) -> str:
        if name not in self._witnesses and name not in self._groups:
            raise MalformedInput(f"got {name!r}, which no line above names")
        return name

    def _join(self, members: list[str]) -> tuple[str, ...]:
        for member in members:
            if self._known(member) in self._members:
                raise MalformedInput(f"got {member!r} as a member twice, expected each name in one group")
            self._members.add(member)
        return tuple(members)


def _needed(text: str, members: int) -> int:
    needed = {"all": members, "any": 1}.get(text)
    needed = _number(text) if needed is None else needed
    if not 1 <= needed <= members:
        raise MalformedInput(f"got {text} of {members} members, expected all, any, or a number from 1 to {members}")
    return needed


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise MalformedInput(f"got {text[:40]!r}, expected a decimal number")
    return int(text)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MalformedInput(f"got time {text[:40]!r}, expected one such as 2026-11-24T18:00:00Z") from None
    if moment.tzinfo is None:
        raise MalformedInput(f"got time {text[:40]!r} without its zone, expected one such as 2026-11-24T18:00:00Z")
    return int(moment.timestamp() * 1000)
