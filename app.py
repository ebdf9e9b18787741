"""The WSGI entry point: ``gunicorn app:app``. ``python app.py`` serves it locally."""

from __future__ import annotations

import os
import sys

from bridge import create_app, settings

try:
    app = create_app(settings.load(os.environ))
except settings.ConfigurationError as mistakes:
    sys.exit(str(mistakes))

if __name__ == "__main__":
    app.extensions["bridge"].start()
    app.run(port=settings.load(os.environ).port, threaded=True)
