"""What an operator changes, and the record of having changed it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affidavit.acts import token_created, token_revoked
from affidavit.settings import data_directory, load
from affidavit.wiring import Wiring
from collector.internal import operator
from stores.control import Token


class Operator:
    """Changes the control database of a data directory, beside a running ``up``."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring

    @property
    def wiring(self) -> Wiring:
        """The parts of the deployment."""
        return self._wiring

    @classmethod
    @contextmanager
    def at(cls, data: Path | None) -> Iterator[Operator]:
        """The operator of a data directory."""
        layout = data_directory(data)
        with Wiring(layout, load(layout)) as wiring:
            yield cls(wiring)

    def tokens(self) -> list[Token]:
        """All tokens, in the order of creation."""
        return self._wiring.control.tokens()

    def add_token(self, token: Token) -> None:
        """Put its creation on the log, then make the token valid."""
        self._wiring.audit().record_blocking(token_created(token, operator()))
        self._wiring.control.add_token(token)

    def revoke_token(self, token_id: str) -> bool:
        """Put the revocation on the log, then revoke the token; false when there is none of that id."""
        known = next((token for token in self.tokens() if token.token_id == token_id), None)
        if known is None:
            return False
        self._wiring.audit().record_blocking(token_revoked(known, operator()))
        return self._wiring.control.revoke_token(token_id, time.time_ns() // 1_000_000)
