"""The README's examples, found by their shape: every block and every piece of code that can be run or asked."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parent.parent
README = (PROJECT / "README.md").read_text(encoding="utf-8")

ELSEWHERE = "Bring your gateway in ten minutes"
"""The section that tests/test_bring_your_gateway.py follows word by word."""
NOT_RUN = {
    r"make (run|check|test|bench|setup|lint|dashboards)\b.*": "installs, serves or tests the whole project",
    r"([A-Z_]+=\S+ )+make run": "needs a gateway; its variables are checked",
    r"docker (compose )?\S.*": "needs a Docker daemon and images",
    r"gateway  →  health  →  .*": "a picture, not a command",
}
"""What is not run, and why. A line that is neither here nor of a known kind fails the tests."""
CODE = re.compile(r"`([^`\n]+)`")
KINDS = (
    ("curl", re.compile(r"(\$ )?curl .*")),
    ("url", re.compile(r"(https?://localhost:5050)?/\S*\?\S+=\S+|https?://localhost:5050/\S+")),
    (
        "target",
        re.compile(
            r"(worst\(\d+, )?(metric|(provider|model|fleet|gateway)_\w+)(\{.*\})?\)?( as .+)?"
            r"|explain\{.*\}|\w+\{\w+[!=]~?\".*\}"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Example:
    """One thing the README shows: its kind, its text, and the output shown beneath it, if any."""

    kind: str
    text: str
    shown: str = ""


def examples(readme: str = README) -> list[Example]:
    """Every example outside the section that is followed elsewhere. Kind ``unknown``: nobody knows how to run it."""
    found: list[Example] = []
    for section in re.split(r"^(?=## )", readme, flags=re.MULTILINE):
        if section.startswith(f"## {ELSEWHERE}\n"):
            continue
        blocks, prose = _blocks(section)
        found.extend(example for language, block in blocks for example in _of_block(language, block))
        found.extend(_of_prose(prose))
    return list(dict.fromkeys(found))


def _blocks(section: str) -> tuple[list[tuple[str, str]], str]:
    """Fenced and indented blocks with their languages, and what is left."""
    blocks: list[tuple[str, str]] = []

    def fenced(match: re.Match[str]) -> str:
        blocks.append((match[1], match[2]))
        return "\n"

    def indented(match: re.Match[str]) -> str:
        blocks.append(("", re.sub(r"^    ", "", match[0].strip("\n"), flags=re.MULTILINE)))
        return "\n\n"

    prose = re.sub(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", fenced, section, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"\n\n(?:(?: {4}[^\n]*)?\n)*? {4}[^\n]*\n(?:(?: {4}[^\n]*)?\n)*", indented, prose)
    return blocks, prose


def _of_block(language: str, block: str) -> list[Example]:
    stripped = textwrap.dedent(block).strip()
    first, _, rest = stripped.partition("\n")
    if first.startswith("$ "):
        return [Example(_kind(first), first.removeprefix("$ "), rest)]
    if language == "json" or stripped[:1] in ("{", "["):
        return [Example("json", stripped)]
    if language in ("yaml", "yml") or re.fullmatch(r"(scrape_configs|global|rule_files|groups|remote_write):", first):
        return [Example("yaml", stripped)]
    joined = re.sub(r" \\\n\s*", " ", stripped)
    return [Example(_kind(line), line) for line in joined.splitlines() if line.strip() and line[:1] != "#"]


def _kind(line: str) -> str:
    if any(re.fullmatch(pattern, line) for pattern in NOT_RUN):
        return "not run"
    return next((kind for kind, pattern in KINDS if pattern.fullmatch(line)), "unknown")


def _of_prose(prose: str) -> list[Example]:
    """Code within sentences and tables, as far as it asks for something; ``…`` and ``<name>`` stand for anything."""
    found: list[Example] = []
    for paragraph in re.split(r"\n(?=- |\||\n)", prose):
        for code in CODE.findall(paragraph):
            if "…" in code or "<" in code:
                continue
            if paragraph.startswith("- Variables"):
                found.append(Example("variable", code))
            elif "nnotation" in paragraph and re.fullmatch(r"(incident|circuit|status|roster|gateway)\b.*", code):
                found.append(Example("annotation", code))
            elif re.fullmatch(r"(GET|POST) /\S*", code):
                found.append(Example("route", code))
            elif code.startswith("curl ") or KINDS[1][1].fullmatch(code):
                found.append(Example(_kind(code), code))
            elif re.fullmatch(r'\{"target": .*\}', code):
                found.append(Example("payload", code))
            elif re.fullmatch(r'\w+\{\w+(=|!=|=~|!~)".*', code):
                found.append(Example("target", code))
    return found
