"""The WSGI entry point: ``gunicorn app:app``. ``python app.py`` checks the environment and becomes that gunicorn."""

from __future__ import annotations

import os
import sqlite3
import sys

from bridge.configuration import configured_once
from bridge.settings import ConfigurationError

BOOT_ERROR = 3
"""What tells gunicorn that a worker started anew would fare no better."""

try:
    settings = configured_once()
except ConfigurationError as error:
    sys.exit(f"The bridge cannot start. Wrong in its environment:\n\n{error}\n")

if __name__ == "__main__":
    # Not gunicorn's own script: that reads WEB_CONCURRENCY before anybody could say what is wrong with it.
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "app:app"])

from bridge.application import create_app  # noqa: E402 (what becomes gunicorn has no use for it)

try:
    app = create_app(settings)
except (OSError, sqlite3.OperationalError) as error:
    sys.stderr.write(f"The bridge cannot start: a history can be kept neither in DATA_DIR nor in memory: {error}\n")
    sys.exit(BOOT_ERROR)
