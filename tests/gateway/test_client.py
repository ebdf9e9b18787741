"""The client's promises, each held against a real socket that breaks it on purpose."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from bridge.gateway.client import Fetched, GatewayClient, _same_gateway
from bridge.gateway.errors import (
    ExpositionTruncated,
    GatewayRefused,
    GatewayUnreachable,
    NotAnExposition,
    one_line,
)
from tests.gateway.fetching import (
    CHUNKED,
    EXPOSITION,
    GOOD,
    TOKEN,
    failure,
    failure_of,
    fetch,
)
from tests.gateway.hostile import (
    Answer,
    answer,
    chunk,
    forever,
    gateway,
    gzipped,
    head,
    redirect,
    then_close,
    then_reset,
    unused_port,
)

# What a good poll is


def test_a_good_answer_is_handed_over_as_it_is() -> None:
    with gateway(GOOD) as server:
        fetched = fetch(server.url)
    assert fetched.body == EXPOSITION
    assert fetched.content_type == "text/plain; version=0.0.4"
    assert 0 < fetched.seconds < 1


def test_the_request_asks_for_the_text_format_and_names_the_bridge() -> None:
    with gateway(GOOD) as server:
        fetch(server.url, token=TOKEN)
    (asked,) = server.requests
    assert asked.startswith("GET /metrics HTTP/1.1\r\n")
    assert "\r\nAccept: text/plain; version=0.0.4\r\n" in asked
    assert "\r\nAccept-Encoding: gzip\r\n" in asked
    assert "\r\nUser-Agent: provider-health-bridge\r\n" in asked
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in asked


def test_without_a_token_no_credential_is_sent() -> None:
    with gateway(GOOD) as server:
        fetch(server.url)
    assert "authorization" not in server.requests[0].lower()


def test_the_environment_neither_replaces_the_token_nor_brings_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    with gateway(GOOD) as server:
        fetch(server.url, token=TOKEN)
        fetch(server.url)
    assert f"Bearer {TOKEN}" in server.requests[0]
    assert "authorization" not in server.requests[1].lower()


def test_the_token_goes_before_a_user_name_in_the_url() -> None:
    with gateway(GOOD) as server:
        fetch(server.url.replace("//", "//user:pass@"), token=TOKEN)
    assert f"\r\nAuthorization: Bearer {TOKEN}\r\n" in server.requests[0]


def test_a_good_connection_serves_the_next_poll() -> None:
    with gateway(GOOD) as server:
        client = GatewayClient(server.url, token=None, timeout_seconds=3, max_bytes=1000)
        assert [client.fetch().body for _ in range(3)] == [EXPOSITION] * 3
        client.close()
    assert server.connections == 1


def test_a_connection_that_the_gateway_closed_between_polls_is_made_anew() -> None:
    with gateway(then_close(GOOD)) as server:
        client = GatewayClient(server.url, token=None, timeout_seconds=3, max_bytes=1000)
        assert [client.fetch().body for _ in range(2)] == [EXPOSITION] * 2
        client.close()


def test_the_connection_of_a_failed_fetch_is_not_reused() -> None:
    page = answer(200, b"<html>hello</html>")
    with gateway(page, GOOD) as server:
        client = GatewayClient(server.url, token=None, timeout_seconds=3, max_bytes=1000)
        with pytest.raises(NotAnExposition):
            client.fetch()
        assert client.fetch().body == EXPOSITION
        client.close()
    assert server.connections == 2


def test_cookies_are_not_kept() -> None:
    with gateway(answer(200, EXPOSITION, "Set-Cookie: session=1; Path=/"), GOOD) as server:
        client = GatewayClient(server.url, token=None, timeout_seconds=3, max_bytes=1000)
        client.fetch()
        client.fetch()
        client.close()
    assert "cookie" not in server.requests[1].lower()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(GOOD, id="content-length"),
        pytest.param(head(200, CHUNKED) + chunk(EXPOSITION[:20]) + chunk(EXPOSITION[20:]) + b"0\r\n\r\n", id="chunked"),
        pytest.param(answer(200, gzipped(EXPOSITION), "Content-Encoding: gzip"), id="gzip"),
        pytest.param(
            answer(200, gzipped(EXPOSITION[:24]) + gzipped(EXPOSITION[24:]), "Content-Encoding: x-gzip"),
            id="two-gzip-members",
        ),
        pytest.param(
            head(200, CHUNKED, "Content-Encoding: gzip") + chunk(gzipped(EXPOSITION)) + b"0\r\n\r\n", id="chunked-gzip"
        ),
    ],
)
def test_every_framing_brings_the_same_body(sent: bytes) -> None:
    with gateway(sent) as server:
        assert fetch(server.url).body == EXPOSITION


def test_a_body_that_ends_with_its_connection_is_whole_if_it_ends_in_a_line_break() -> None:
    with gateway(then_close(head(200) + EXPOSITION)) as server:
        assert fetch(server.url).body == EXPOSITION


# Bodies cut off


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(head(200) + EXPOSITION[:-5], id="close-delimited"),
        pytest.param(head(200, f"Content-Length: {len(EXPOSITION)}") + EXPOSITION[:24], id="content-length"),
        pytest.param(head(200, CHUNKED) + b"64\r\n" + EXPOSITION[:24], id="inside-a-chunk"),
        pytest.param(head(200, CHUNKED) + chunk(EXPOSITION), id="between-chunks"),
        pytest.param(head(200, CHUNKED) + chunk(EXPOSITION) + b"what\r\n", id="chunk-length-not-a-number"),
        pytest.param(head(200, "Content-Encoding: gzip") + gzipped(EXPOSITION)[:-1], id="gzip-one-byte-short"),
        pytest.param(head(200, "Content-Encoding: gzip") + gzipped(EXPOSITION)[:12], id="gzip-head-only"),
        pytest.param(answer(200, EXPOSITION, "Content-Encoding: gzip"), id="gzip-in-name-only"),
        pytest.param(answer(200, gzipped(EXPOSITION) + b"junk", "Content-Encoding: gzip"), id="gzip-and-junk"),
        pytest.param(answer(200, EXPOSITION[:-1]), id="no-final-line-break"),
    ],
)
def test_a_body_cut_off_is_not_a_poll(sent: bytes) -> None:
    error, server = failure_of(then_close(sent))
    assert isinstance(error, ExpositionTruncated)
    assert error.code == "truncated"
    assert len(server.requests) == 1


# What is not an exposition


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(b"<!DOCTYPE html><title>Sign in</title>\n", "Sign in", id="html"),
        pytest.param(b"\n\n  <HTML>\x1b[31mred\n</HTML>\n", "\\n\\n  <HTML>\\x1b[31mred", id="html-with-control"),
        pytest.param(b'\xef\xbb\xbf{"detail": "no metrics here"}\n', "no metrics here", id="json-object-with-bom"),
        pytest.param(b"[" + b"1," * 5000 + b"1]\n", "[1,1,1", id="json-array"),
    ],
)
def test_a_page_or_json_with_200_is_named_as_such_and_shown(body: bytes, shown: str) -> None:
    error, server = failure_of(answer(200, body, "Content-Type: text/plain"))
    assert isinstance(error, NotAnExposition)
    assert error.code == "not_exposition"
    assert shown in str(error)
    assert len(str(error)) < 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n"])
def test_an_empty_body_is_named_as_such(body: bytes) -> None:
    error, _ = failure_of(answer(200, body))
    assert isinstance(error, NotAnExposition)
    assert error.code == "empty"


def test_the_declared_type_is_not_relied_on() -> None:
    with gateway(answer(200, EXPOSITION, "Content-Type: text/html; charset=\xff")) as server:
        assert fetch(server.url).body == EXPOSITION


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "gzip, br", "aes128gcm"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    error, _ = failure_of(answer(200, gzipped(gzipped(EXPOSITION)), f"Content-Encoding: {encoding}"))
    assert error.code == "not_exposition"
    assert encoding in str(error)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="another-protocol"),
        pytest.param(bytes(range(256)) * 50 + b"\n", id="binary"),
        pytest.param(b"HTTP/1.1 abc OK\r\n\r\n", id="status-not-a-number"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n" + EXPOSITION, id="header-too-long"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n" + EXPOSITION, id="too-many-headers"),
        pytest.param(head(200, "Content-Length: 5, 6") + EXPOSITION, id="two-lengths"),
        pytest.param(forever(b"", b"x" * 65536), id="no-line-at-all"),
    ],
)
def test_an_answer_that_is_not_readable_http_is_a_reason_like_any_other(sent: Answer) -> None:
    error, server = failure_of(then_close(sent) if isinstance(sent, bytes) else sent)
    assert isinstance(error, NotAnExposition)
    assert error.code == "not_exposition"
    assert str(error).isprintable()
    assert len(server.requests) == 1


# Statuses


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (201, "unexpected_status"),
        (204, "unexpected_status"),
        (206, "unexpected_status"),
        (304, "unexpected_status"),
        (400, "unexpected_status"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "not_found"),
        (418, "unexpected_status"),
        (429, "rate_limited"),
        (500, "server_error"),
        (599, "server_error"),
        (777, "unexpected_status"),
    ],
)
def test_each_status_has_its_reason_and_is_asked_for_once(status: int, code: str) -> None:
    error, server = failure_of(answer(status, b""))
    assert isinstance(error, GatewayRefused)
    assert (error.code, error.status) == (code, status)
    assert str(status) in str(error)
    assert len(server.requests) == 1


def test_a_404_asks_whether_the_path_is_right() -> None:
    error, _ = failure_of(answer(404, b""))
    assert str(error) == (
        "no such endpoint: /metrics answered 404; is GATEWAY_METRICS_PATH right? "
        "newer gateways only have /metrics, older ones /prometheus/data/metrics"
    )


def test_a_401_tells_a_missing_token_from_a_wrong_one() -> None:
    missing, _ = failure_of(answer(401, b""))
    wrong, _ = failure_of(answer(401, b""), token=TOKEN)
    assert "GATEWAY_TOKEN is not set" in str(missing)
    assert "accept GATEWAY_TOKEN" in str(wrong)


@pytest.mark.parametrize(("header", "shown"), [("30", "wait 30 s"), ("soon\x07", "Too Many Requests")])
def test_a_429_says_how_long_the_gateway_wants_to_be_left_alone_if_that_is_a_number(header: str, shown: str) -> None:
    error, _ = failure_of(answer(429, b"", f"Retry-After: {header}"))
    assert str(error).endswith(shown)


# The one retry


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(answer(502, b""), id="502"),
        pytest.param(answer(503, b"starting", "Retry-After: 3600"), id="503"),
        pytest.param(answer(504, b""), id="504"),
        pytest.param(then_close(b""), id="closed-without-an-answer"),
        pytest.param(then_reset(b""), id="reset-without-an-answer"),
        pytest.param(then_reset(head(200, "Content-Length: 1000") + EXPOSITION), id="reset-inside-the-body"),
    ],
)
def test_a_failure_that_passes_costs_no_poll(sent: Answer) -> None:
    with gateway(sent, GOOD) as server:
        assert fetch(server.url).body == EXPOSITION
    assert len(server.requests) == 2


def test_there_is_one_retry_and_no_more() -> None:
    error, server = failure_of(answer(503, b""))
    assert error.code == "server_error"
    assert len(server.requests) == 2


def test_there_is_no_retry_without_time_for_it() -> None:
    error, server = failure_of(answer(503, b""), GOOD, timeout_seconds=0.15)
    assert error.code == "server_error"
    assert len(server.requests) == 1


def test_the_second_failure_is_the_one_told() -> None:
    error, _ = failure_of(then_close(b""), then_close(b"SSH-2.0-x\r\n"))
    assert error.code == "not_exposition"


# No connection


def test_a_port_where_nothing_listens_is_refused() -> None:
    port = unused_port()
    error = failure(f"http://127.0.0.1:{port}/metrics")
    assert isinstance(error, GatewayUnreachable)
    assert error.code == "refused"
    assert f"127.0.0.1:{port}" in str(error)


@pytest.mark.parametrize("sent", [then_close(b""), then_reset(b"")], ids=["closed", "reset"])
def test_a_connection_that_breaks_twice_is_a_reset(sent: Answer) -> None:
    error, _ = failure_of(sent)
    assert isinstance(error, GatewayUnreachable)
    assert error.code == "reset"


def test_a_name_that_does_not_resolve_is_told_from_a_gateway_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure("http://gateway.internal/metrics")
    assert isinstance(error, GatewayUnreachable)
    assert error.code == "dns"
    assert str(error) == "gateway.internal does not resolve: Name or service not known"


@pytest.mark.parametrize("url", [f"http://{'a' * 70}.example/", "http:///metrics", "gopher://gateway/", "http://[::1/"])
def test_a_url_that_cannot_be_asked_is_a_reason_like_any_other(url: str) -> None:
    assert failure(url).code == "dns"


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_gateway_is_followed_with_the_token(status: int) -> None:
    with gateway(redirect("/metrics/", status), GOOD) as server:
        assert fetch(server.url, token=TOKEN).body == EXPOSITION
    assert server.requests[1].startswith("GET /metrics/ ")
    assert f"Bearer {TOKEN}" in server.requests[1]


def test_an_absolute_redirect_to_the_same_gateway_keeps_the_user_name_of_the_url() -> None:
    def absolute(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(redirect(f"http://127.0.0.1:{server.port}/metrics/"))

    with gateway(absolute, GOOD) as server:
        fetch(server.url.replace("//", "//user:pass@"))
    assert "\r\nAuthorization: Basic dXNlcjpwYXNz\r\n" in server.requests[1]


def test_a_redirect_to_another_host_is_not_followed_and_gets_no_token() -> None:
    with gateway(GOOD) as other:
        error, _ = failure_of(redirect(other.url), token=TOKEN)
    assert isinstance(error, GatewayRefused)
    assert (error.code, error.status) == ("redirect", 307)
    assert other.url in str(error)
    assert other.connections == 0
    assert other.requests == []


def test_a_redirect_loop_ends() -> None:
    error, server = failure_of(redirect("/metrics"))
    assert error.code == "redirect"
    assert len(server.requests) == 4


def test_a_redirect_to_nowhere_is_refused() -> None:
    error, server = failure_of(answer(302, b""))
    assert error.code == "redirect"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("http://gw/metrics", "/metrics/", "http://gw/metrics/"),
        ("http://gw/metrics", "http://GW:80/metrics/?a=b#c", "http://gw/metrics/?a=b"),
        ("http://gw/metrics", "https://gw/metrics", "https://gw/metrics"),
        ("http://u:p@gw:80/metrics", "https://gw:443/m", "https://u:p@gw/m"),
        ("http://gw:8000/metrics", "https://gw:8000/metrics", None),
        ("http://gw:8000/metrics", "https://gw/metrics", None),
        ("https://gw/metrics", "http://gw/metrics", None),
        ("http://gw/metrics", "http://gw:8000/metrics", None),
        ("http://gw/metrics", "//evil/metrics", None),
        ("http://gw/metrics", "http://gw.evil/metrics", None),
        ("http://gw/metrics", "http://gw@evil/metrics", None),
        ("http://gw/metrics", "http://evil\\@gw/metrics", "http://gw/metrics"),
        ("http://gw/metrics", "http://[gw/metrics", None),
        ("http://gw/metrics", "http://gw:99999/metrics", None),
        ("http://gw/metrics", "file:///etc/passwd", None),
        ("http://gw/metrics", "", None),
    ],
)
def test_only_the_same_gateway_counts_as_the_same(url: str, location: str, target: str | None) -> None:
    assert _same_gateway(url, location) == target


# What an error may say


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(answer(200, f'{{"detail": "wrong token {TOKEN}"}}\n'.encode()), id="json"),
        pytest.param(answer(200, b"[" + b"x" * (79 - len(TOKEN)) + TOKEN.encode() + b"]\n"), id="where-it-is-cut"),
        pytest.param(redirect(f"http://elsewhere/?key={TOKEN}"), id="redirect"),
        pytest.param(then_close(f"wrong token {TOKEN}\r\n".encode()), id="not-http"),
        pytest.param(answer(200, EXPOSITION, f"Content-Encoding: {TOKEN}"), id="encoding"),
        pytest.param(answer(401, TOKEN.encode(), f"WWW-Authenticate: {TOKEN}"), id="401"),
        pytest.param(answer(429, b"", f"Retry-After: {TOKEN}"), id="429"),
        pytest.param(head(200, f"Content-Length: {TOKEN}", f"X: {TOKEN}"), id="length"),
    ],
)
def test_an_error_never_shows_the_token_not_even_when_the_gateway_quotes_it(sent: Answer) -> None:
    error, _ = failure_of(sent, token=TOKEN, timeout_seconds=0.4)
    assert TOKEN[:4] not in str(error) + repr(error) + repr(error.__cause__)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_token_that_no_header_can_carry_is_refused_at_once_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        GatewayClient("http://gw/", token=token, timeout_seconds=1, max_bytes=1)
    assert not token or token not in str(caught.value)


def test_an_error_shows_the_path_and_neither_query_nor_user_name() -> None:
    with gateway(answer(500, b"")) as server:
        error = failure(server.url.replace("//", "//user:hush@") + "?key=hush")
    assert "/metrics answered 500" in str(error)
    assert "hush" not in str(error)


def test_the_body_is_not_part_of_what_a_fetch_shows_of_itself() -> None:
    assert "openai" not in repr(Fetched(EXPOSITION, 0.1, "text/plain"))


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    message = str(GatewayUnreachable("a\nb\x00\x1b[0m\u202e\ud800" + "x" * 1_000_000, code="reset"))
    assert message.startswith(r"a\nb\x00\x1b[0m\u202e\ud800xxx")
    assert message.isprintable()
    assert len(message) == 300
    assert one_line("short", 5) == "short"
    assert one_line("longer", 5) == "long…"


def test_a_code_is_one_of_a_closed_set() -> None:
    assert GatewayUnreachable("x").code == "timeout"
    with pytest.raises(ValueError, match="has no code 'whatever'"):
        GatewayUnreachable("x", code="whatever")
