"""Keeping the engine's tables of people at the directory that is in force."""

from __future__ import annotations

import asyncio
import logging

from affidavit.identity.loading import in_force, read_load
from affidavit.identity.rows import alias_rows, load_row, people_rows
from sinks.clickhouse.directory import DirectoryTables
from stores.control import Control, DirectoryLoad
from stores.objects import Objects

log = logging.getLogger(__name__)

SECONDS = 2.0
"""Between looks at the control database."""


class DirectorySync:
    """Looks at the control database, and brings into the engine what was loaded.

    A failure is logged when it begins and when it has ended, and tried again; it never ends the role: the sink delivers
    all the same, and events resolve by the directory before.

    Args:
        tables: of an engine whose tables were made.
        seconds: between looks.
    """

    def __init__(
        self, control: Control, objects: Objects, tables: DirectoryTables, *, seconds: float = SECONDS
    ) -> None:
        self._control = control
        self._objects = objects
        self._tables = tables
        self._seconds = seconds
        self._loaded: dict[str, int] | None = None
        self._failing = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stop.is_set():
            await asyncio.to_thread(self._attempt)
            try:
                await asyncio.wait_for(stop.wait(), self._seconds)
            except TimeoutError:
                continue

    def look(self) -> list[DirectoryLoad]:
        """Bring in what is in force and not there yet; return it.

        Raises:
            AffidavitError: the control database or the object store fails.
            ClickHouseError: the engine does (of ``clickhouse_connect``).
        """
        wanted = in_force(self._control.directories())
        if self._loaded is None and wanted:
            self._loaded = self._tables.loaded()
        due = [load for load in wanted.values() if (self._loaded or {}).get(load.tenant, 0) < load.number]
        for load in due:
            directory = read_load(self._objects, load)
            self._tables.replace(load_row(load), people_rows(directory), alias_rows(directory))
            assert self._loaded is not None
            self._loaded[load.tenant] = load.number
            log.info(
                "directory %d of tenant %s is in force: %d people", load.number, load.tenant, len(directory.people)
            )
        return due

    def _attempt(self) -> None:
        try:
            self.look()
        except Exception as error:  # whatever it is, delivery goes on beside it
            self._loaded = None
            if not self._failing:
                log.error("the directory is not brought up to date, and tried again: %s", error)
            self._failing = str(error)
        else:
            if self._failing:
                log.info("the directory is up to date again")
            self._failing = ""
