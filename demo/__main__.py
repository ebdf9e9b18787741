"""``python -m demo gateway`` serves the demo gateway; ``python -m demo run`` serves it and the bridge that polls it."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

from demo.gateway import METRICS_PATH, serve

PROJECT = Path(__file__).parent.parent
BRIDGE = (sys.executable, "app.py")


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the result is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    gateway = commands.add_parser("gateway", help="serve the demo gateway alone")
    gateway.add_argument("--port", type=int, default=9000, help="port, 0 for a free one (default: 9000)")
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    commands.add_parser("run", help="serve the demo gateway, and the bridge on top of it")
    chosen = parser.parse_args(arguments)
    if chosen.command == "run":
        return run(os.environ)
    return serve_gateway(chosen.port, chosen.host)


def serve_gateway(port: int, host: str = "127.0.0.1") -> int:
    """Serve the gateway alone until interrupted."""
    with serve(port, host=host) as running:
        print(f"Demo gateway: {running.url}{METRICS_PATH}", flush=True)
        with suppress(KeyboardInterrupt):
            Event().wait()
    return 0


def run(environ: Mapping[str, str], command: Sequence[str] = BRIDGE) -> int:
    """Serve the gateway and run ``command`` (the bridge) against it; its exit code is the result.

    Signals to stop are passed on to the bridge, and the gateway ends with it.
    """
    with serve() as gateway:
        print(f"GATEWAYZ_API_URL is not set: starting the demo gateway on {gateway.url}", flush=True)
        # A session of its own: Ctrl-C reaches the bridge once, through us, and not a second time from the terminal.
        bridge = subprocess.Popen(
            command, cwd=PROJECT, env=bridge_environment(environ, gateway.url), start_new_session=True
        )
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, lambda number, _: bridge.send_signal(number))
        signal.signal(signal.SIGHUP, lambda *_: bridge.terminate())  # the terminal is gone; gunicorn would reload
        code = bridge.wait()
    return code if code >= 0 else 128 - code


def bridge_environment(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """The bridge's environment: ours, pointed at the demo gateway, with defaults that suit a demo."""
    return {
        **environ,
        "GATEWAYZ_API_URL": url,
        "GATEWAY_METRICS_PATH": METRICS_PATH,
        "POLL_INTERVAL": environ.get("POLL_INTERVAL") or "5s",
        "DATA_DIR": environ.get("DATA_DIR") or "./data/demo",
    }


if __name__ == "__main__":
    sys.exit(main())
