"""Where the history's file is: in its folder, or in memory while that folder cannot be used.

A disk that is full, read-only or gone must not stop the service. What is in memory is shared by all processes of the
service as a file is, and goes on in the folder once that can be used again.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path

import structlog

from bridge.history import moving
from bridge.history.database import FILE, Database
from bridge.history.spare import in_memory

RETRY_SECONDS = 60.0
UNUSABLE = (OSError, sqlite3.OperationalError)

log = structlog.get_logger("bridge.history")


class MovedError(Exception):
    """The log has gone on from memory to its folder, where it is to be opened again."""


class Place:
    """The folder of one store, and what stands in for it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.unusable = ""
        """Why the file is in memory; empty when it is not."""
        self._next_try = 0.0

    def open(self) -> Database:
        """The file, in memory where the folder cannot be used.

        Raises OSError or sqlite3.OperationalError when there is no room in memory either.
        """
        self.unusable = ""
        try:
            database = Database(self._data_dir)
            database.left = lambda: self._is_unreadable(database)
            return database
        except UNUSABLE as error:
            self.unusable = f"DATA_DIR={self._data_dir} cannot be used, it is kept in memory meanwhile: {error}"
            self._next_try = time.monotonic() + RETRY_SECONDS
            log.error("history_in_memory", message=self.unusable)
        database = Database(_own(self._memory()))
        database.left = lambda: self._is_left(database)
        return database

    def try_again(self, database: Database) -> None:
        """Once a minute, while the file is in memory: see whether its folder can be used, and move it there.

        For the process that writes. Raises MovedError once that is done.
        """
        home = self._home()
        if home is None:
            return
        try:
            moving.append(database, home)
            home.close()
        except UNUSABLE as error:
            log.warning("history_in_memory", message=f"DATA_DIR={self._data_dir} still cannot be used: {error}")
            return
        database.remove()
        raise MovedError(f"DATA_DIR={self._data_dir} can be used again: the history goes on there")

    def _is_left(self, database: Database) -> bool:
        """True when the folder can be used and nothing is written in memory (any more): this process was alone there.

        Where something is, it is for the process that writes to move it.
        """
        row = database.connection().execute("SELECT at, interval FROM polls ORDER BY id DESC LIMIT 1").fetchone()
        if row is not None and abs(time.time() - row[0]) < RETRY_SECONDS + 2 * row[1]:
            return False
        home = self._home()
        if home is not None:
            home.close()
        return home is not None

    def _is_unreadable(self, database: Database) -> bool:
        """True when the file can no longer be read, and is written in memory by the process that polls."""
        return self._memory_is_written() and not database.readable()

    def _memory_is_written(self) -> bool:
        newest = 0.0
        for name in (FILE, f"{FILE}-wal"):
            with suppress(OSError):
                newest = max(newest, (self._memory() / name).stat().st_mtime)
        return time.time() - newest < RETRY_SECONDS

    def _memory(self) -> Path:
        return in_memory(self._data_dir).with_suffix(".history")

    def _home(self) -> Database | None:
        """The file in its folder, if that is tried now, and can be used."""
        if not self.unusable or time.monotonic() < self._next_try:
            return None
        self._next_try = time.monotonic() + RETRY_SECONDS
        try:
            return Database(self._data_dir)
        except UNUSABLE:
            return None


def _own(folder: Path) -> Path:
    """A folder that is ours alone. Raises PermissionError where another user has made it."""
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone")
    return folder
