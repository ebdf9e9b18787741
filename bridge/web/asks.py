"""The targets of a request's body, one by one: what each asks for, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from bridge.queries import payloads
from bridge.queries.answer import Ask
from bridge.queries.targets import Known, TargetError

PLACEHOLDER = "select metric"
MAX_REF_ID_CHARACTERS = 200
"""Each of a target's series carries its refId, so a long one would multiply."""
EXAMPLE = '{"targets": [{"target": "provider_health_score"}], "range": {"from": "now-1h", "to": "now"}}'


def ask(target: object, number: int, known: Known, *, annotation: bool = False) -> Ask | None:
    """One target, with what is wrong with it; None for one that asks for nothing. ``known``: texts of a label.

    ``annotation``: its text, or its payload's ``query``, is an annotation query, which may be empty.
    """
    if isinstance(target, str):
        target = {"target": target}
    if not isinstance(target, dict):
        return Ask("", mistake=_mistake(f"target {number} is {kind_of(target)}, not an object"))
    if target.get("hide") is True:
        return None
    text = target.get("target")
    text = "" if text is None else text
    ref_id = target.get("refId")
    ref_id = ref_id if isinstance(ref_id, str) else None
    if ref_id is not None and len(ref_id) > MAX_REF_ID_CHARACTERS:
        message = f"target {number}: its refId is longer than {MAX_REF_ID_CHARACTERS} characters"
        return Ask("", mistake=_mistake(message))
    if not isinstance(text, str):
        return Ask("", ref_id, mistake=_mistake(f"target {number}: its target is {kind_of(text)}, not a text"))
    text = "" if not text.strip() or text.strip() == PLACEHOLDER else text
    if not text and not annotation:
        return None
    try:
        content = payload(target.get("payload"))
        choice = payloads.read(content, known)
    except TargetError as error:
        return Ask(text, ref_id, mistake=TargetError(f"target {number}: {error.message}", error.hint))
    query = content.get("query")
    if annotation and isinstance(query, str) and query.strip():
        text = query
    as_table = "table" in (target.get("type"), content.get("type"))  # simPod has no types, its payload says so
    return Ask(text, ref_id, as_table, choice, annotation)


def payload(content: object) -> Mapping[str, Any]:
    """A payload: an object, the same as a JSON text, or nothing. Raises TargetError for a text that is no JSON."""
    if isinstance(content, str) and content.strip():
        try:
            content = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise TargetError(f"the payload is not JSON: {error}", payloads.EXAMPLE) from None
    return content if isinstance(content, dict) else {}


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _mistake(message: str) -> TargetError:
    return TargetError(message, f"send a body like {EXAMPLE}")
