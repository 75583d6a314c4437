"""A Kafka broker with TLS and SASL listeners: certificates, users, tokens.

with secure_kafka(folder) as broker:
    broker.address["SASL_SSL"]         # host:port of a listener
    broker.ca, broker.client_certificate, broker.client_key
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import ipaddress
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import SaslAuthenticationFailed
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka_broker import KafkaCluster, free_ports

USER, PASSWORD = "collector", "correct horse"
KEY_PASSWORD = "battery staple"
LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
ITERATIONS = 4096


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """Where the listeners are, and what a client needs for them."""

    address: dict[str, str]
    ca: Path
    other_ca: Path
    client_certificate: Path
    client_key: Path


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """One broker; users and certificates are made for it."""
    ca, other = Authority("our CA"), Authority("somebody else's CA")
    ca_file, other_file = folder / "ca.pem", folder / "other.pem"
    ca_file.write_bytes(ca.certificate_pem)
    other_file.write_bytes(other.certificate_pem)
    key, certificate = ca.issue("broker")
    keystore = folder / "broker.pem"
    keystore.write_bytes(pem(key) + certificate + ca.certificate_pem)
    client_key, client_certificate = ca.issue("client")
    (folder / "client.pem").write_bytes(client_certificate)
    (folder / "client.key").write_bytes(pem(client_key, KEY_PASSWORD))
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        name = f"listener.name.{listener}"
        properties |= {
            f"{name}.plain.sasl.jaas.config": f'{plain} user_{USER}="{PASSWORD}";',
            f"{name}.scram-sha-256.sasl.jaas.config": scram,
            f"{name}.scram-sha-512.sasl.jaas.config": scram,
            f"{name}.oauthbearer.sasl.jaas.config": f'{bearer} unsecuredLoginStringClaim_sub="broker";',
        }
    with KafkaCluster(brokers=1, overrides=properties, listeners=ports) as cluster:
        asyncio.run(_add_user(cluster.brokers[0].port, ports["SASL_PLAINTEXT"]))
        yield SecureKafka(
            {name: f"127.0.0.1:{port}" for name, port in ports.items()} | {"PLAINTEXT": cluster.bootstrap},
            ca_file,
            other_file,
            folder / "client.pem",
            folder / "client.key",
        )


def unsecured_token(issued: float | None = None) -> str:
    """A token that Kafka's validator for development takes: a JWT without a signature (RFC 7515, "alg": "none")."""
    now = time.time() if issued is None else issued
    parts = ({"alg": "none"}, {"sub": USER, "iat": now, "exp": now + 300.0})
    return ".".join(_base64(json.dumps(part).encode()) for part in parts) + "."


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Authority:
    """Issues certificates for 127.0.0.1."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
        )
        self.certificate_pem = self._signed(certificate)

    def issue(self, name: str) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = self._builder(subject, key.public_key()).add_extension(names, critical=False)
        return key, self._signed(builder.add_extension(authority, critical=False))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        identifier = x509.SubjectKeyIdentifier.from_public_key(key)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(identifier, critical=False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def pem(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    """PKCS #8, encrypted when there is a password."""
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class AlterScramResponse0(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterScramRequest0(RequestStruct):
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = AlterScramResponse0
    SCHEMA = Schema(
        ("deletions", CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields))),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterScram(Request[AlterScramRequest0]):
    """``AlterUserScramCredentials``: what ``kafka-configs.sh --entity-type users`` sends."""

    API_KEY = 51

    def __init__(self, mechanism: int, digest: str) -> None:
        self._mechanism, self._digest = mechanism, digest

    def build(self, request_struct_class: type[AlterScramRequest0]) -> AlterScramRequest0:
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac(self._digest, PASSWORD.encode(), salt, ITERATIONS)
        return request_struct_class([], [(USER, self._mechanism, ITERATIONS, salt, salted, {})], {})


async def _add_user(port: int, sasl_port: int) -> None:
    """Add the user for both mechanisms, and wait until the broker lets it in: it hears of it a moment later."""
    connection: Any = await create_conn("127.0.0.1", port)
    try:
        for mechanism, digest in ((1, "sha256"), (2, "sha512")):
            response = await connection.send(AlterScram(mechanism, digest))
            assert [result[1] for result in response.results] == [0], response
    finally:
        await connection.close()
    for name in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        async with asyncio.timeout(20):
            while not await _let_in(sasl_port, name):
                await asyncio.sleep(0.05)


async def _let_in(port: int, mechanism: str) -> bool:
    login = {"sasl_mechanism": mechanism, "sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
    try:
        connection: Any = await create_conn("127.0.0.1", port, security_protocol="SASL_PLAINTEXT", **login)
    except SaslAuthenticationFailed:
        return False
    await connection.close()
    return True
