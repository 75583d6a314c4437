"""Who is at the command line, by a token of theirs: what two people have to do is not done by a name in an option."""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass

from affidavit.holds.scopes import HOLD
from affidavit.settings import person_token
from collector.auth import token_digest
from schemas.errors import AccessDenied
from stores.control import Control

_REMEDY = "set AFFIDAVIT_PERSON_TOKEN to a token of yours, made by: affidavit token create --person YOU --scope"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who was recognised. ``tenant`` ``*``: for all."""

    name: str
    token_id: str
    tenant: str
    scopes: tuple[str, ...]


def recognise(control: Control) -> Person | None:
    """Whose token is in ``AFFIDAVIT_PERSON_TOKEN``; ``None`` when there is none.

    Raises:
        AccessDenied: it is not a valid one; the text does not repeat it.
    """
    given = person_token()
    if given is None:
        return None
    digest = token_digest(given.get_secret_value().strip())
    token = control.token_by_digest(digest)
    if token is None or not hmac.compare_digest(token.digest, digest) or not token.person:
        raise AccessDenied(f"got a token that is nobody's here: {_REMEDY} {HOLD}")
    now_ms = time.time_ns() // 1_000_000
    if token.revoked_ms is not None and token.revoked_ms <= now_ms:
        raise AccessDenied(f"token {token.token_id} of {token.person} was revoked: {_REMEDY} …")
    if token.expires_ms is not None and token.expires_ms <= now_ms:
        raise AccessDenied(f"token {token.token_id} of {token.person} has expired: {_REMEDY} …")
    return Person(token.person, token.token_id, token.tenant, token.scopes)


def require(control: Control, scope: str, tenant: str = "") -> Person:
    """The person, who may do what ``scope`` names, for this tenant.

    Raises:
        AccessDenied: nobody, or somebody who may not.
    """
    person = recognise(control)
    if person is None:
        raise AccessDenied(f"it must be known who does this: {_REMEDY} {scope}")
    if scope not in person.scopes:
        has = ", ".join(person.scopes) or "none"
        raise AccessDenied(f"token {person.token_id} of {person.name} has scope {has}, expected {scope}")
    if tenant and person.tenant not in ("*", tenant):
        raise AccessDenied(f"token {person.token_id} of {person.name} is for tenant {person.tenant}, not {tenant}")
    return person
