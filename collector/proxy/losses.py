"""Exchanges that were passed on and not recorded, put among the losses that the log tells of itself."""

from __future__ import annotations

from collector import losses
from collector.internal import SYSTEM
from collector.proxy.recorder import Lose, Loss


def noting(told: losses.Losses) -> Lose:
    """What to give to the proxy as ``lose``, so that :func:`collector.losses.record_losses` puts it on record."""

    def lose(loss: Loss) -> None:
        tenant, gateway = (loss.sender.tenant, loss.sender.gateway) if loss.sender else (SYSTEM, "proxy")
        name = f"proxy/{loss.upstream}"
        told.note(tenant, gateway, name, losses.Loss(loss.exchange_id, loss.sha256, loss.size, loss.at, refused=False))

    return lose
