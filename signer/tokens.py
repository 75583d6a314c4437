"""RFC 3161 time-stamp tokens, verified as a third party would: pinned authority, no network, at the token's own time.

The certificate of the authority itself is pinned, not only its root. Certificates inside a response are never trusted:
an attacker's own authority, root included, can stand there (``tests/signer/test_tokens.py`` has such a response).
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerifierBuilder,
    decode_timestamp_response,
)
from rfc3161_client import VerificationError as TokenError
from rfc3161_client.tsp import PKIStatus, TimeStampRequest

from schemas.errors import MalformedInput, Refused, VerificationError
from signer.policy import Authority

_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}
"""By their object identifiers (NIST CSOR)."""


def make_request(message: bytes) -> TimeStampRequest:
    """A request over ``message``: SHA-256, a nonce, and the authority's certificate asked for."""
    builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
    return builder.nonce(nonce=True).cert_request(cert_request=True).build()


def read_answer(request: TimeStampRequest, response: bytes, message: bytes, authority: Authority) -> int:
    """Check the answer to a request of ours, nonce included; return its time in milliseconds since 1970 UTC.

    Raises:
        Refused: the authority said no, or what it sent does not verify.
    """
    try:
        answer = _decode(response)
        if answer.status not in (PKIStatus.GRANTED, PKIStatus.GRANTED_WITH_MODS):
            raise Refused(f"authority {authority.name} answered with status {answer.status}: {_words(answer)}")
        if answer.tst_info.nonce != request.nonce:
            raise Refused(f"authority {authority.name} answered another request: its nonce is not ours")
        return verify_token(response, message, authority)
    except VerificationError as error:
        raise Refused(str(error)) from None


def verify_token(response: bytes, message: bytes, authority: Authority) -> int:
    """Check a response (``TimeStampResp``) over ``message``; return its time in milliseconds since 1970 UTC.

    Raises:
        VerificationError: it does not parse, is over other bytes, or is not by this authority.
    """
    leaf, *issuers = load_chain(authority)
    answer = _decode(response)
    imprint = answer.tst_info.message_imprint
    digest = _DIGESTS.get(imprint.hash_algorithm.dotted_string)
    if digest is None:
        raise VerificationError(f"the token of {authority.name} is over a digest of another kind than SHA-2")
    if imprint.message != digest(message).digest():
        raise VerificationError(f"the token of {authority.name} is over {imprint.message.hex()}, not over these bytes")
    builder = VerifierBuilder().tsa_certificate(leaf).add_root_certificate(issuers[-1] if issuers else leaf)
    for issuer in issuers[:-1]:
        builder = builder.add_intermediate_certificate(issuer)
    try:
        builder.build().verify_message(answer, message)
    except (TokenError, ValueError) as error:
        raise VerificationError(f"the token of {authority.name} does not verify: {error}") from None
    return int(answer.tst_info.gen_time.timestamp() * 1000)


def load_chain(authority: Authority) -> list[x509.Certificate]:
    """The certificates of an authority, its own first.

    Raises:
        MalformedInput: not DER, or the first is not that of a time-stamping authority.
    """
    try:
        chain = [x509.load_der_x509_certificate(der) for der in authority.chain]
        usage = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise MalformedInput(
            f"authority {authority.name}: no certificate of a time-stamping authority: {error}"
        ) from None
    if ExtendedKeyUsageOID.TIME_STAMPING not in usage:
        raise MalformedInput(f"authority {authority.name}: its certificate is not for time stamping")
    return chain


def read_authority(name: str, pem: bytes) -> Authority:
    """An authority from a PEM file: its own certificate first, then those above it, up to the root.

    Raises:
        MalformedInput: no certificates, or the first is not that of a time-stamping authority.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise MalformedInput(f"authority {name}: got no PEM certificates: {error}") from None
    authority = Authority(name, tuple(one.public_bytes(Encoding.DER) for one in chain))
    load_chain(authority)
    return authority


def _decode(response: bytes) -> TimeStampResponse:
    try:
        return decode_timestamp_response(response)
    except ValueError as error:
        raise VerificationError(f"got {len(response)} bytes that are no RFC 3161 response: {error}") from None


def _words(answer: TimeStampResponse) -> str:
    return "; ".join(str(word) for word in answer.status_string) or "no reason given"
