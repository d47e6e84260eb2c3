"""GET /metrics of a real server: what docs/metrics.md promises is there."""

import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_a_server_exposes_all_that_the_docs_name(http: httpx.Client) -> None:
    http.post("/v1/completions", json={"prompt": "Hello", "max_tokens": 2})
    text = http.get("/metrics").text
    told = set(re.findall(r"`(llstore:\w+)`", DOCS.read_text()))
    assert told == set(re.findall(r"^# TYPE (llstore:\w+) ", text, re.MULTILINE))
    found = {
        (sample.name, sample.labels.get("verb", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    # The model was asked for by its name, which the journal knows.
    assert found["llstore:store_requests_total", "list"] >= 1
    assert found["llstore:cache_used_bytes", ""] > 0
