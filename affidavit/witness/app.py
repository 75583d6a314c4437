"""The witness as an ASGI application: ``POST /add-checkpoint``, ``GET /<hash of origin>/checkpoint``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from affidavit.witness.state import WitnessState, checkpoint_of
from schemas.errors import MalformedInput, Unavailable
from signer.clock import wall_clock
from signer.cosignature import cosign
from signer.note import Note, SigningKey, VerifierKey, format_note, format_signature
from signer.origin import parse_origin
from signer.witnessing import (
    ADD_CHECKPOINT,
    MAX_BODY_BYTES,
    Answer,
    Submission,
    judge,
    parse_submission,
)

logger = logging.getLogger(__name__)


class WitnessServer:
    """Judges requests, and cosigns.

    Args:
        name: under which it signs, a schema-less URL.
        key: its own, which no other cosigner shares.
        logs: gives the keys of the logs that it witnesses, asked for each request. A key whose name is that of a
            deployment stands for all of its logs, whose names begin with it.
        state: what it has seen.
        clock: milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        name: str,
        key: SigningKey,
        logs: Callable[[], Sequence[VerifierKey]],
        state: WitnessState,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self._name, self._key, self._state, self._clock = name, key, state, clock
        self._logs = logs

    def app(self) -> Starlette:
        """The routes. They need no token: a log's signature is the credential, and what is shown is public."""
        return Starlette(
            routes=[
                Route(f"/{ADD_CHECKPOINT}", self._add, methods=["POST"]),
                Route("/{hash}/checkpoint", self._latest, methods=["GET"]),
            ]
        )

    def add_checkpoint(self, body: bytes) -> Answer:
        """Judge one request; blocking. If we die before it returns, what was stored was not yet cosigned for anybody:
        the log asks again, and gets a cosignature of the same size."""
        try:
            submission = parse_submission(body)
        except MalformedInput as error:
            return Answer(400, f"{error}\n".encode())
        while True:
            origin = submission.note.text.partition("\n")[0]
            before = self._state.note(origin)
            answer = judge(submission, self._keys(origin), checkpoint_of(before) if before else None)
            if answer.checkpoint is None:
                logger.warning("%s: refused with %d: %s", origin, answer.status, answer.body.decode().strip())
                return answer
            note, line = self._cosigned(submission)
            if self._state.advance(before, note):
                logger.info("%s: cosigned size %d", origin, answer.checkpoint.size)
                return Answer(200, line)

    def _cosigned(self, submission: Submission) -> tuple[bytes, bytes]:
        """The note as it is shown, and our line."""
        text = submission.note.text
        signature = cosign(text, self._name, self._clock() // 1000, self._key)
        kept = tuple(one for one in submission.note.signatures if one.name == text.partition("\n")[0])
        return format_note(Note(text, (*kept, signature))), format_signature(signature).encode()

    def _keys(self, origin: str) -> list[VerifierKey]:
        """The keys that may sign a log, under the log's own name."""
        names = {origin}
        with suppress(MalformedInput):
            names.add(parse_origin(origin).deployment)
        return [VerifierKey(origin, key.public_key) for key in self._logs() if key.name in names]

    async def _add(self, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                return PlainTextResponse(f"got more than {MAX_BODY_BYTES} bytes\n", 413)
        try:
            answer = await run_in_threadpool(self.add_checkpoint, bytes(body))
        except Unavailable as error:
            logger.error("%s", error)
            return PlainTextResponse("the state of this witness cannot be written\n", 503)
        return Response(answer.body, answer.status, media_type=answer.type)

    async def _latest(self, request: Request) -> Response:
        note = await run_in_threadpool(self._state.shown_at, f"{request.path_params['hash']}/checkpoint")
        if note is None:
            return PlainTextResponse("no checkpoint of this log was cosigned\n", 404)
        return Response(note, media_type="text/plain; charset=utf-8")
