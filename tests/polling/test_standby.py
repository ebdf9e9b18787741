"""A process that stands by, forked by a process that is a single thread: here a Python of its own, as pytest is not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def run(code: str) -> str:
    """What a program says that has forked a standby which does ``main``."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout


def test_it_begins_with_what_it_is_handed_and_inherits_nothing_else() -> None:
    told = run(
        """
        import os
        from bridge.polling.standby import Standby

        def main(descriptors):
            for descriptor in descriptors:
                os.write(descriptor, f"{len(descriptors)} {len(os.listdir('/proc/self/fd'))}".encode())

        secret, _ = os.pipe()
        standby = Standby.fork(main)
        assert standby.poll() is None
        reader, writer = os.pipe()
        standby.begin([writer])
        os.close(writer)
        print(os.read(reader, 100).decode(), standby.wait(10), standby.poll())
        """
    )
    # Standard input, output and error, its orders, what it was handed, and the folder it lists.
    assert told.split() == ["1", "6", "0", "0"]


def test_it_ends_with_its_worker_though_it_never_began() -> None:
    told = run(
        """
        import os, time
        from bridge.polling.standby import Standby

        reader, writer = os.pipe()
        worker = os.fork()
        if not worker:
            standby = Standby.fork(lambda _: None)
            os.write(writer, str(standby.pid).encode())
            os._exit(0)
        pid = int(os.read(reader, 20))
        os.waitpid(worker, 0)
        for _ in range(1000):
            try:
                state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
            except OSError:
                state = "Z"
            if state == "Z":
                break
            time.sleep(0.01)
        print("ended" if state == "Z" else "lives")
        """
    )
    assert told.split() == ["ended"]


def test_how_it_ended_is_told_as_subprocess_tells_it() -> None:
    told = run(
        """
        import sys
        from bridge.polling.standby import Standby

        def fails(_):
            raise SystemExit("no")

        sys.excepthook = lambda kind, error, _: print("said", error, flush=True)
        failed, killed, late = Standby.fork(fails), Standby.fork(fails), Standby.fork(fails)
        failed.begin([0])
        print(failed.wait(10), flush=True)
        killed.kill()
        print(killed.wait(10))
        late.kill(), late.wait(10)
        try:
            late.begin([0])
        except OSError:
            print("too late")
        """
    )
    assert told.split() == ["said", "no", "1", "-9", "too", "late"]
