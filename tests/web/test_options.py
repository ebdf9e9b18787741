"""``OPTIONS`` is answered with what is allowed, and without a type, as there is no content."""

from __future__ import annotations

import pytest

from tests.web.conftest import Site


@pytest.mark.parametrize("path", ["/", "/query", "/health"])
def test_an_answer_without_content_has_no_type(site: Site, path: str) -> None:
    answer = site.client.options(path)
    assert (answer.status_code, answer.data) == (200, b"")
    assert "OPTIONS" in answer.headers["Allow"]
    assert "Content-Type" not in answer.headers
