"""Where a process listens for those who watch it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from affidavit.monitor.server import Watched, serving
from affidavit.settings import Settings
from schemas.errors import ConfigurationError

log = logging.getLogger(__name__)


@contextmanager
def monitored(watched: Watched, settings: Settings) -> Iterator[str]:
    """Serve the monitor as configured; gives its URL, ``""`` when it is switched off.

    Where several processes run on one machine with the default port, the first has it and the others take a free one.

    Raises:
        ConfigurationError: the port that was asked for cannot be bound.
    """
    own = settings.monitor
    if not own.enabled:
        yield ""
        return
    token = None if own.token is None else own.token.get_secret_value()
    with ExitStack() as stack:
        try:
            url = stack.enter_context(serving(watched, own.host, own.port, token))
        except ConfigurationError:
            if "port" in own.model_fields_set:
                raise
            url = stack.enter_context(serving(watched, own.host, 0, token))
            log.warning("port %d is taken: this process is watched at %s; set monitor.port", own.port, url)
        yield url
