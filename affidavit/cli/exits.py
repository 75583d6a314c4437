"""Exit codes of the command line, and which error has which."""

from __future__ import annotations

from schemas.errors import (
    AffidavitError,
    ConfigurationError,
    Declined,
    InputError,
    LedgerContradiction,
    ServerError,
    VerificationError,
)

DONE = 0
INTEGRITY_FAILURE = 1
INCOMPLETE = 2
DECLINED = 2
USAGE = 3
UNAVAILABLE = 4
BUG = 5
INTERRUPTED = 130

MEANING = {
    DONE: "done; of a verifying command: verified",
    INTEGRITY_FAILURE: "the evidence does not hold: something was changed, removed, added or reordered",
    INCOMPLETE: "evidence is incomplete or stale: a gap, an old tail, a missing origin, nothing found; of matter, "
    "hold, policy and disposition: declined, and nothing was changed",
    USAGE: "the command or the configuration is wrong; the message says what to change",
    UNAVAILABLE: "a store or server cannot be reached; nothing was decided, try again",
    BUG: "a bug in affidavit; please report it with the output of `affidavit --debug …`",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each code means to a script. ``docs/cli.md`` is made from this."""


def exit_code(error: AffidavitError) -> int:
    """The exit code of an error that reached the command line."""
    match error:
        case VerificationError():
            return error.exit_code
        case LedgerContradiction():
            return INTEGRITY_FAILURE
        case Declined():
            return DECLINED
        case InputError() | ConfigurationError():
            return USAGE
        case ServerError():
            return UNAVAILABLE
        case _:
            return BUG
