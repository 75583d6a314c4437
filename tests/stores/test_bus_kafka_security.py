"""The Kafka bus over TLS and SASL, against a broker that demands them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bus_messages import message
from kafka_bus import config, open_bus
from kafka_secure import KEY_PASSWORD, PASSWORD, USER, SecureKafka, secure_kafka, unsecured_token

from schemas.errors import ConfigurationError, Unavailable
from schemas.ids import Offset
from stores.bus.kafka import KafkaBus, KafkaSecurity


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as running:
        yield running


def sasl(mechanism: Any, protocol: Any = "SASL_PLAINTEXT", **changes: Any) -> KafkaSecurity:
    return KafkaSecurity(protocol, mechanism=mechanism, **({"username": USER, "password": PASSWORD} | changes))


def bus_with(broker: SecureKafka, security: KafkaSecurity, listener: str | None = None) -> KafkaBus:
    address = broker.address[listener or security.protocol]
    return KafkaBus(config(address, security=security, append_seconds=3.0, request_seconds=3.0))


async def works(bus: KafkaBus) -> None:
    try:
        await bus.create_topics()
        (position,) = await bus.append([message(1)])
        (found,) = await bus.read(position.shard, Offset(0), max_records=9, max_bytes=999)
        assert found.event_id == message(1).event_id
    finally:
        await bus.close()


async def is_refused(bus: KafkaBus, words: str) -> None:
    begun = time.monotonic()
    try:
        for ask in (lambda: bus.append([message(1)]), lambda: bus.shards("events")):
            with pytest.raises(ConfigurationError, match=words):
                await ask()
        assert time.monotonic() - begun < 15.0
    finally:
        await bus.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_passwords(broker: SecureKafka, mechanism: Any) -> None:
    await works(bus_with(broker, sasl(mechanism)))
    await is_refused(
        bus_with(broker, sasl(mechanism, password="wrong")), "refused our credentials.*check user name and password"
    )


async def test_a_user_that_is_not_there(broker: SecureKafka) -> None:
    await is_refused(bus_with(broker, sasl("SCRAM-SHA-512", username="nobody")), "refused our credentials")


async def test_tokens(broker: SecureKafka) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return unsecured_token()

    await works(bus_with(broker, KafkaSecurity("SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=token)))
    assert asked
    for wrong, words in (
        ("no token", "refused our credentials"),
        (unsecured_token(time.time() - 600), "invalid_token"),
    ):
        security = KafkaSecurity("SASL_PLAINTEXT", mechanism="OAUTHBEARER", token=lambda wrong=wrong: wrong)
        await is_refused(bus_with(broker, security), words)


async def test_passwords_within_tls(broker: SecureKafka) -> None:
    security = sasl("SCRAM-SHA-512", "SASL_SSL", ca_file=broker.ca)
    await works(bus_with(broker, security))
    await is_refused(bus_with(broker, replace(security, password="wrong")), "refused our credentials")
    await is_refused(bus_with(broker, replace(security, mechanism="SCRAM-SHA-256")), "refused our SASL mechanism")


async def test_a_certificate_of_ours(broker: SecureKafka) -> None:
    security = KafkaSecurity(
        "SSL",
        ca_file=broker.ca,
        certificate_file=broker.client_certificate,
        key_file=broker.client_key,
        key_password=KEY_PASSWORD,
    )
    await works(bus_with(broker, security))
    with pytest.raises(ConfigurationError, match="the key's password"):
        bus_with(broker, replace(security, key_password="wrong"))
    with pytest.raises(ConfigurationError, match="the key's password"):
        bus_with(broker, replace(security, key_password=None))


async def test_a_certificate_that_nobody_asked_us_to_trust(broker: SecureKafka) -> None:
    security = sasl("PLAIN", "SASL_SSL", ca_file=broker.other_ca)
    await is_refused(bus_with(broker, security), "does not verify.*set the CA file")


async def test_a_name_that_the_certificate_does_not_carry(broker: SecureKafka) -> None:
    security = sasl("PLAIN", "SASL_SSL", ca_file=broker.ca)
    address = broker.address["SASL_SSL"].replace("127.0.0.1", "localhost")
    await is_refused(KafkaBus(config(address, security=security, request_seconds=3.0)), "does not verify")


async def test_tls_where_there_is_none(broker: SecureKafka) -> None:
    security = KafkaSecurity("SSL", ca_file=broker.ca)
    bus = bus_with(broker, security, "PLAINTEXT")
    try:
        with pytest.raises((ConfigurationError, Unavailable), match=r"no TLS with|Kafka is unavailable|in time"):
            await bus.append([message(1)])
    finally:
        await bus.close()


async def test_a_password_where_nobody_asks_for_one(broker: SecureKafka) -> None:
    await is_refused(bus_with(broker, sasl("PLAIN"), "PLAINTEXT"), "refused our SASL mechanism")


async def test_no_password_where_one_is_asked_for(broker: SecureKafka) -> None:
    bus = bus_with(broker, KafkaSecurity(), "SASL_PLAINTEXT")
    try:
        with pytest.raises(Unavailable, match=r"Kafka is unavailable|in time"):
            await bus.append([message(1)])
    finally:
        await bus.close()


async def test_errors_and_logs_hold_no_secret(broker: SecureKafka, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bus = bus_with(broker, sasl("PLAIN", password="hush hush"))
    try:
        with pytest.raises(ConfigurationError, match="refused") as caught:
            await bus.append([message(1)])
        assert "hush" not in str(caught.value)
        assert "hush" not in "".join(record.getMessage() for record in caplog.records if record.name != "aiokafka.conn")
    finally:
        await bus.close()


async def test_both_sides_of_a_wrong_password_recover(broker: SecureKafka) -> None:
    bus = await open_bus(config(broker.address["SASL_PLAINTEXT"], security=sasl("SCRAM-SHA-256")))
    await bus.close()
    again = KafkaBus(bus.config)
    try:
        (position,) = await again.append([message(1)])
        assert position.offset == 0
    finally:
        await again.close()
