"""The README's way to bring a gateway of one's own, followed word by word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bridge.application import create_app
from bridge.configuration import configured
from bridge.gateway.dialect import COUNTERS, SIGNALS, UNITS
from bridge.gateway.dialect_file import COMBINATIONS, DialectError, load
from tests.gateway.hostile import answer, gateway
from tests.one_poller import polled, poller_in

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Bring your gateway in ten minutes\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
EXPOSITION, DIALECT, CHECK, RUN = BLOCKS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files the README shows, each named in its first line."""
    for block in (EXPOSITION, DIALECT):
        name = block.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(block, encoding="utf-8")
    return tmp_path


def timeless(text: str) -> str:
    """A text with times of day blotted out."""
    return re.sub(r"\d\d:\d\d:\d\d", "hh:mm:ss", text)


def test_the_command_prints_what_the_readme_shows(folder: Path) -> None:
    command, _, shown = CHECK.removeprefix("$ ").partition("\n")
    python, *arguments = shlex.split(command)
    assert python == ".venv/bin/python"
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, "")
    shown, printed = timeless(shown), timeless(run.stdout)
    assert shown.endswith("\n…\n")
    assert len(shown.splitlines()) > 15, "the README hardly shows anything"
    assert printed.startswith(shown.removesuffix("…\n"))
    assert len(printed) > len(shown), "nothing is left out where the README says so"


def test_the_bridge_started_as_shown_watches_that_gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *variables, make, target = shlex.split(RUN)
    assert (make, target) == ("make", "run")
    monkeypatch.chdir(folder)
    with gateway(answer(200, EXPOSITION.encode())) as upstream:
        environ = dict(variable.split("=", 1) for variable in variables)
        environ["GATEWAYZ_API_URL"] = environ["GATEWAYZ_API_URL"].replace(":9100", f":{upstream.port}")
        app = create_app(configured(environ))
        assert polled(poller_in(app)).outcome == "ok"
        board = app.test_client().get("/").text
        app.extensions["bridge"].store.close()
    assert "GET /metrics " in upstream.requests[0]
    assert "globex: one model of 2: atlas-7b; 1 of 2 circuits OPEN" in board
    assert re.search(r"^acme +healthy +100\.0 ", board, re.MULTILINE)


def test_without_its_file_the_gateway_is_not_recognised(folder: Path) -> None:
    """So the file is what does it, not one of the built-in dialects."""
    run = subprocess.run(
        [sys.executable, "-m", "bridge.gateway", "check", "switchyard.prom"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "no dialect fits this exposition" in run.stdout


@cache
def table(heading: str) -> dict[str, list[str]]:
    """The table with this heading over its first column: each word named there, and the cells of its row."""
    lines = SECTION.partition(f"\n| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {word: row for row in rows for word in re.findall(r"`(\w+)`", row[0])}


def accepted(tmp_path: Path, toml: str) -> set[str]:
    """The keys a dialect file accepts where one is wrong, as its error lists them."""
    path = tmp_path / "wrong.toml"
    path.write_text(toml, encoding="utf-8")
    with pytest.raises(DialectError) as caught:
        load(path)
    return set(str(caught.value).rpartition("; keys are ")[2].split(", "))


HEAD = 'name = "yard"\nrecognised_by = ["yard"]\n'


def test_the_tables_name_every_key_that_a_file_may_have_and_no_other(tmp_path: Path) -> None:
    assert accepted(tmp_path, "wrong = 1") - {"signals"} == table("key of the file").keys()
    assert accepted(tmp_path, HEAD + "[[signals]]\nwrong = 1") == table("key of a `[[signals]]` entry").keys()
    entry = '[[signals]]\nsignal = "requests"\nfamily = "x"\nprovider = { wrong = 1 }'
    inside = re.findall(r"(\w+) = ", table("key of a `[[signals]]` entry")["provider"][1])
    assert accepted(tmp_path, HEAD + entry) == set(inside)


def test_the_table_names_every_signal_with_its_units_and_no_other() -> None:
    rows = table("signal")
    assert rows.keys() == SIGNALS
    for signal, (_, units, meaning) in rows.items():
        assert set(re.findall(r"`([\w ]+)`", units)) == set(UNITS.get(signal, {})), signal
        assert ("counter" in meaning) == (signal in COUNTERS), signal


def test_every_way_to_combine_is_named() -> None:
    assert set(re.findall(r"`(\w+)`", table("key of a `[[signals]]` entry")["combine"][1])) == set(COMBINATIONS)
