"""Kinds of aliases, how their values are compared, and patterns of cloud principals. Pure.

Values lose white space around them and take Unicode's form NFC; upper and lower case stay apart. Three exceptions: a
value with an ``@`` that is no ARN is an e-mail address wherever it stands (but for API keys, whose alias is a label),
and compared in lower case; an account id is a UUID, and compared in lower case too; and what Bedrock's format takes
from an ARN (the name of a role's session, which whoever takes the role on may choose) is no alias at all: the ARN is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.errors import MalformedInput

FIELDS = (
    "user_id",
    "user_email",
    "service_account",
    "cloud_principal",
    "api_key_id",
    "api_key_alias",
    "end_user_id",
)
"""Fields of an event that may name a person, in the order in which they count. What gateways and providers know comes
before ``end_user_id``, which is what a client says in all formats."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "email": ("email",),
    "user_id": ("user_id", "account", "sso_id"),
    "account": ("account",),
    "sso_id": ("sso_id",),
    "end_user_id": ("end_user_id",),
    "service_account": ("service_account",),
    "api_key_id": ("api_key_id",),
    "api_key_hash": ("api_key_id",),
    "api_key_alias": ("api_key_alias",),
    "cloud_principal": ("cloud_principal",),
}
"""Kinds that a directory may use, and the names under which each is looked up: gateways send hash and id of a key in
one field, and a ``user_id`` is one whoever issued it."""

PATTERN = "pattern"
"""Looked up by matching: a cloud principal with wildcards."""

ACCOUNTS = ("account", "anthropic_account", "anthropic_user", "openai_user")
SSO = ("sso_subject", "jwt_subject", "cloudflare_access")
CHOSEN = ("iam_user", "iam_role_session")
"""Values of ``user_id_kind``: ids of accounts, ids that an identity provider gave, and parts of ARNs. With the last,
``user_email`` is a part of the ARN too."""

_WHITE = " \t\n\r\f\v"
_KEYS = ("api_key_id", "api_key_alias")
_PATTERN = re.compile(
    r"(?P<service>arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*):(?P<account>\*|[^:*/]*):"
    r"(?P<resource>[^*/:]+/[^*]*|[^*/:]+)(?P<stem_open>\*?)/(?P<last>[^*/]*)(?P<last_open>\*?)"
)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A cloud principal with wildcards: ``arn:aws:sts::*:assumed-role/AWSReservedSSO_*/ada@example.com``.

    A ``*`` may be the account, and may end the part before the last slash, and the part behind it; it stands for
    anything. The pattern with the most characters that are no wildcards wins.

    Attributes:
        account: ``""`` for any.
        stem: what stands before the last slash, without the account; ``stem_open``: it may go on.
        last: what stands behind the last slash; ``last_open``: it may go on.
        literal: characters that are no wildcards.
    """

    account: str
    stem: str
    stem_open: bool
    last: str
    last_open: bool
    literal: int

    def matches(self, principal: str) -> bool:
        """Whether a normalised cloud principal fits."""
        parts = principal.split(":")
        resource = ":".join(parts[5:])
        before, _, last = resource.rpartition("/")
        stem = ":".join(parts[:4]) + ":" + before
        return (
            self.account in ("", parts[4] if len(parts) > 4 else "")
            and (stem.startswith(self.stem) if self.stem_open else stem == self.stem)
            and (last.startswith(self.last) if self.last_open else last == self.last)
        )


def parse_pattern(text: str) -> Pattern:
    """A pattern from its text.

    Raises:
        MalformedInput: it is no ARN, or has a ``*`` elsewhere, or leaves open both what stands before the last slash
            and all that stands behind it.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise MalformedInput(
            f"got pattern {text!r}, expected an ARN with * as its account, at the end of the part before the last "
            "slash, or at the end of the part behind it, such as arn:aws:sts::*:assumed-role/Role/ada*"
        )
    named = "/" in match["resource"] and not match["stem_open"]
    if not match["last"] and not (match["last_open"] and named):
        raise MalformedInput(f"got pattern {text!r}, which is nobody in particular: name the role, or the session")
    account = "" if match["account"] == "*" else match["account"]
    stem = f"{match['service']}:{match['resource']}"
    opened = bool(match["stem_open"]), bool(match["last_open"])
    return Pattern(account, stem, opened[0], match["last"], opened[1], len(text.replace("*", "")))


def normalised(kind: str, value: str) -> tuple[str, str]:
    """The name under which a value of a kind is looked up, and the value as it is compared."""
    clean = unicodedata.normalize("NFC", value.strip(_WHITE))
    if kind not in _KEYS and (kind == "email" or ("@" in clean and not clean.startswith("arn:"))):
        return "email", clean.lower()
    return kind, clean.lower() if kind == "account" else clean


def looked_up(field: str, value: str, user_id_kind: str = "") -> tuple[str, str]:
    """Name and value under which a field of an event is looked up; the value is ``""`` where there is nothing to look
    up."""
    if field in ("user_id", "user_email") and user_id_kind in CHOSEN:
        return field, ""
    if field == "user_email":
        return normalised("email", value)
    if field != "user_id":
        return normalised(field, value)
    return normalised("account" if user_id_kind in ACCOUNTS else "sso_id" if user_id_kind in SSO else "user_id", value)
