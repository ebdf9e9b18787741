"""Failures, rate limits and callers' mistakes: told apart where a gateway's labels say what is what."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.gateway.dialect_file import select
from bridge.gateway.exposition import ExpositionReader
from bridge.gateway.translate import Translator
from bridge.model import FAILURE_CLASSES, Signals

LITELLM = (
    'litellm_deployment_failure_responses_total{{api_base="http://127.0.0.1:17801/c/v1/chat/completions",'
    'api_key_alias="None",api_provider="mistral",client_ip="127.0.0.1",exception_class="{}",exception_status="{}",'
    'hashed_api_key="None",litellm_model_name="mistral-large-latest",model_group="smart",'
    'model_id="6689763fb0f6001476de6ad1baebc26a55705abb66d75217fe27e22daecb6a3d",requested_model="smart",team="None",'
    'team_alias="None",user_agent="Python-urllib/3.11"}} 4.0\n'
    'litellm_deployment_total_requests_total{{api_provider="mistral",litellm_model_name="mistral-large-latest",'
    'model_id="6689763fb0f6001476de6ad1baebc26a55705abb66d75217fe27e22daecb6a3d"}} 9\n'
)
GATEWAYZ = 'model_inference_requests_total{{model="gpt-4o",provider="openai",status="{}"}} 4.0\n'
PRIVATEROUTER = 'pr_llm_calls_total{{model="openai/gpt-4o",endpoint="chat",status="{}"}} 4\n'
CIRCUIT_BREAKER = (
    'circuit_breaker_state{{service="payments"}} 0\n'
    'circuit_breaker_failures_total{{service="payments",error_type="{}"}} 4\n'
)
DEEPPIN = (
    'deeppin_llm_calls_total{{provider="groq",model="llama",key_prefix="gsk_Aa1x",group="chat"}} 9\n'
    'deeppin_llm_failures_total{{provider="groq",model="llama",key_prefix="gsk_Aa1x",reason="{}"}} 4\n'
)


def read(text: str, dialects: str = "auto") -> Signals:
    return Translator(select(dialects)).translate(ExpositionReader().read(text.encode()))


def classes(signals: Signals) -> dict[str, float]:
    """What each class counts."""
    found: dict[str, float] = {}
    for counter, value in signals.counters.items():
        if counter.signal in FAILURE_CLASSES.values():
            found[counter.signal] = found.get(counter.signal, 0.0) + value
    return found


@pytest.mark.parametrize(
    ("exposition", "said", "counts_as"),
    [
        # As LiteLLM 1.106 and 1.109 printed them.
        (LITELLM, ("Mistral.RateLimitError", "429"), "rate_limited"),
        (LITELLM, ("Groq.InternalServerError", "500"), "failures"),
        # And as their source has the others: a time-out's 408 is the proxy's own.
        (LITELLM, ("Openai.Timeout", "408"), "failures"),
        (LITELLM, ("RateLimitError", "None"), "rate_limited"),
        (LITELLM, ("Openai.BadRequestError", "400"), "caller_errors"),
        (LITELLM, ("Openai.ContextWindowExceededError", "400"), "caller_errors"),
        (LITELLM, ("Openai.NotFoundError", "404"), "caller_errors"),
        (LITELLM, ("Openai.UnprocessableEntityError", "422"), "caller_errors"),
        (LITELLM, ("Openai.AuthenticationError", "401"), "failures"),
        (LITELLM, ("Openai.PermissionDeniedError", "403"), "failures"),
        (LITELLM, ("Openai.APIError", "402"), "failures"),
        (LITELLM, ("Openai.ServiceUnavailableError", "503"), "failures"),
        (LITELLM, ("Openai.APIConnectionError", "None"), "failures"),
        (GATEWAYZ, ("error",), "failures"),
        (GATEWAYZ, ("timeout",), "failures"),
        (GATEWAYZ, ("rate_limited",), "rate_limited"),
        (GATEWAYZ, ("429",), "rate_limited"),
        (PRIVATEROUTER, ("error",), "failures"),
        (PRIVATEROUTER, ("429",), "rate_limited"),
        (PRIVATEROUTER, ("408",), "rate_limited"),
        (PRIVATEROUTER, ("413",), "caller_errors"),
        (PRIVATEROUTER, ("401",), "failures"),
        (PRIVATEROUTER, ("4xx",), "failures"),
        (PRIVATEROUTER, ("502",), "failures"),
        (CIRCUIT_BREAKER, ("timeout",), "failures"),
        (CIRCUIT_BREAKER, ("TimeoutError",), "failures"),
        (CIRCUIT_BREAKER, ("ConnectionRefusedError",), "failures"),
        (CIRCUIT_BREAKER, ("RateLimitError",), "rate_limited"),
        (CIRCUIT_BREAKER, ("rate_limit_error",), "rate_limited"),
        (CIRCUIT_BREAKER, ("BadRequestError",), "caller_errors"),
        (DEEPPIN, ("rate_limit",), "rate_limited"),
        (DEEPPIN, ("server_error",), "failures"),
        (DEEPPIN, ("auth",), "failures"),
        (DEEPPIN, ("other",), "failures"),
    ],
)
def test_a_failure_counts_as_what_its_gateway_says_it_is(
    exposition: str, said: tuple[str, ...], counts_as: str
) -> None:
    assert classes(read(exposition.format(*said))) == {counts_as: 4.0}


@pytest.mark.parametrize(
    ("exposition", "said", "labels"),
    [
        (LITELLM, ("Groq.InternalServerError", "500"), ("exception_class", "exception_status")),
        (GATEWAYZ, ("error",), ()),
        (GATEWAYZ, ("success",), ("status",)),
        (GATEWAYZ, ("429",), ("status",)),
        (CIRCUIT_BREAKER, ("backend_error",), ()),
        (DEEPPIN, ("timeout",), ("reason",)),
    ],
)
def test_whether_a_gateway_tells_them_apart_is_seen_by_what_it_says(
    exposition: str, said: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    assert read(exposition.format(*said)).failures_told_apart_by == labels


def test_a_dialect_of_ones_own_names_values_patterns_and_classes_of_codes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("""
name = "mine"
recognised_by = ["calls_total"]
[[signals]]
signal = "requests"
family = "calls_total"
provider = "vendor"
[[signals]]
signal = "failures"
family = "calls_total"
provider = "vendor"
except = { code = ["200"] }
[signals.failure_classes.code]
"4xx" = "caller"
"403" = "failure"
"429" = "rate_limited"
[signals.failure_classes.kind]
"*Throttl*" = "rate_limited"
"quota" = "failure"
""")
    expected = {
        ("404", ""): "caller_errors",
        ("4XX", ""): "caller_errors",
        ("403", ""): "failures",
        ("429", ""): "rate_limited",
        ("4040", ""): "failures",
        ("503", "throttled by vendor"): "rate_limited",
        ("503", "Quota"): "failures",
        ("503", "quotas"): "failures",
        ("404", "throttled"): "caller_errors",
    }
    for (code, kind), counts_as in expected.items():
        text = f'calls_total{{vendor="acme",code="{code}",kind="{kind}"}} 3\n'
        assert classes(read(text, str(path))) == {counts_as: 3.0}, (code, kind)


def test_every_request_counts_as_one_whatever_became_of_it() -> None:
    text = "".join(GATEWAYZ.format(status) for status in ("success", "error", "429", "404"))
    signals = read(text)
    assert sum(value for counter, value in signals.counters.items() if counter.signal == "requests") == 16
    assert classes(signals) == {"failures": 4, "rate_limited": 4, "caller_errors": 4}
