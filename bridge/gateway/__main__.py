"""``python -m bridge.gateway check EXPOSITION [DIALECT.toml]``: helps to bring one's own gateway.

EXPOSITION is a file, a URL (``GATEWAY_TOKEN`` is sent as bearer token), or ``-`` for standard input. Without a dialect
the built-in ones are tried. Exit status: 0 when a dialect fits, 1 when none does, 2 when something cannot be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bridge import check
from bridge.gateway.dialect_file import DialectError, select
from bridge.gateway.errors import GatewayError
from bridge.gateway.exposition import ReadingGivenUp


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the result is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bridge.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="say what the bridge makes of an exposition")
    checking.add_argument("exposition", help="a file, a URL, or - for standard input")
    checking.add_argument("dialect", nargs="?", default="auto", help="a TOML file or a built-in dialect's name")
    chosen = parser.parse_args(arguments)
    try:
        dialects = select(chosen.dialect)
        finding = check.check(_body(chosen.exposition), dialects)
    except (DialectError, GatewayError, ReadingGivenUp, OSError, ValueError) as error:
        print(f"cannot check: {error}", file=sys.stderr)
        return 2
    print(finding.report, end="")
    return 0 if finding.recognised else 1


def _body(place: str) -> bytes:
    if place == "-":
        return sys.stdin.buffer.read()
    if "://" in place:
        return check.fetch(place, os.environ.get("GATEWAY_TOKEN") or None)
    return Path(place).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
