"""The one tree of errors.

::

    AffidavitError
    ├── InputError                 what we were given is at fault: their input
    │   ├── MalformedInput         bytes that do not parse
    │   ├── LimitExceeded          well-formed, but larger than we accept
    │   ├── AccessDenied           no token, a wrong token, or a token without the scope
    │   └── Declined               understood, and it may not be done, or not like this; nothing was changed
    ├── ServerError                something we depend on is at fault: their server
    │   ├── Unavailable            try again later (may carry ``retry_after`` seconds)
    │   └── Refused                it answered, and the answer is no
    │       └── RetentionLocked    a write-once object may not be deleted or replaced yet
    ├── ConfigurationError         start-up refused; the message holds the fix
    ├── VerificationError          the evidence does not hold (numbered steps, see signer.verify)
    │   └── EvidenceIncomplete     nothing contradicts, but something that must be there is not
    ├── LedgerContradiction        the signer met a state it must not sign over: halt, never re-sign
    │   └── LockLost               another signer swapped the lock row first: let go, nothing is damaged
    └── InvariantError             our bug

Messages are lower case without a full stop: ``got …, expected …``, the record's coordinates, and the remedy where
there is one. Exceptions of libraries are translated once, in the module named after the technology. No message
holds a secret or the content of a record.
"""

from __future__ import annotations


class AffidavitError(Exception):
    """Root of every error that this project raises on purpose."""


class InputError(AffidavitError):
    """What we were given is at fault."""


class MalformedInput(InputError):
    """Bytes that do not parse as what they claim to be."""


class LimitExceeded(InputError):
    """Well-formed input that is larger than the configured limit."""


class AccessDenied(InputError):
    """No token, an unknown or revoked token, or a token without the needed scope."""


class Declined(InputError):
    """What was asked for was understood, and may not be done, or not by this person or not like this. Nothing was
    changed; the message says what would do."""


class ServerError(AffidavitError):
    """Something that we depend on is at fault."""


class Unavailable(ServerError):
    """The store, bus or sink cannot take the work now; nothing was lost, try again.

    Args:
        message: what is unavailable.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(ServerError):
    """The other side answered, and the answer is no."""


class RetentionLocked(Refused):
    """A write-once object may not be deleted or replaced before its retention date, or while it is held."""


class ConfigurationError(AffidavitError):
    """Start-up is refused; the message says what to change."""


class VerificationError(AffidavitError):
    """The evidence does not hold.

    Args:
        message: what does not match what.
        step: the label of the verification step that failed, as listed in ``docs/log-format.md``.
    """

    exit_code = 1

    def __init__(self, message: str, *, step: str = "") -> None:
        super().__init__(f"step {step}: {message}" if step else message)
        self.step = step


class EvidenceIncomplete(VerificationError):
    """Nothing contradicts, but evidence that must exist is absent or stale: never a success."""

    exit_code = 2


class LedgerContradiction(AffidavitError):
    """Two things that must agree do not; the signer halts and the message says what a person must decide."""


class LockLost(LedgerContradiction):
    """Another signer swapped the lock row of a log first, or closed the log. Whoever lost it signs nothing more before
    it has opened the log again; nothing is damaged."""


class InvariantError(AffidavitError):
    """A state that our own code should have made impossible."""
