"""Who may ask a server, and what of a request its log keeps."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from raw_client import RawClient
from serving import Server, llstore, serving
from waiting import until

ASK = "/v1/completions"
SECRET = "the launch code is 4711"


@pytest.fixture(scope="module")
def open_server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One without keys."""
    with serving(tmp_path_factory.mktemp("open"), tiny, "--threads", "1", "--allow-host", "models.example") as found:
        yield found


def status(server: Server, path: str = "/v1/models", **headers: str) -> tuple[int, str | None]:
    with server.client() as client:
        answer = client.get(path, headers=headers)
        found = answer.json()
        return answer.status_code, found["error"]["code"] if "error" in found else None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:80", "LOCALHOST", "models.example"])
def test_without_keys_who_means_this_machine_may_ask(open_server: Server, host: str) -> None:
    assert status(open_server, host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["elsewhere.example", "127.0.0.1.elsewhere.example", "localhost@elsewhere.example", "", "[", "0.0.0.0", "a" * 9999],
)
def test_without_keys_a_name_that_was_made_to_mean_this_machine_may_not(open_server: Server, host: str) -> None:
    with RawClient(open_server) as client:
        client.send(b"GET /v1/models HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode())
        answer = client.answer("GET")
    assert (answer.status, answer.error["code"]) == (403, "wrong_host")


def test_a_request_without_a_host_is_of_nobody(open_server: Server) -> None:
    with RawClient(open_server) as client:
        client.send(b"GET /v1/models HTTP/1.1\r\n\r\n")
        assert client.answer("GET").status == 403


@pytest.mark.parametrize(
    "origin", ["http://elsewhere.example", "https://localhost.elsewhere.example", "null", "file://"]
)
def test_without_keys_pages_of_elsewhere_may_not_ask(open_server: Server, origin: str) -> None:
    assert status(open_server, host="localhost", origin=origin) == (403, "wrong_origin")
    assert status(open_server, host="localhost", origin="http://localhost:3000")[0] == 200


def test_without_keys_any_key_will_do(open_server: Server) -> None:
    for key in ("Bearer sk-none", "Bearer", "Basic dTpw", "x" * 2000):
        assert status(open_server, authorization=key)[0] == 200


def test_other_machines_may_not_ask_a_server_without_keys(tmp_path: Path) -> None:
    found = llstore(tmp_path, "serve", "a/b", "--host", "0.0.0.0", "--port", "0", check=False)
    assert found.returncode == 2
    assert "--without-keys" in found.stderr
    found = llstore(tmp_path, "serve", "a/b", "--host", "0.0.0.0", "--port", "0", "--without-keys", check=False)
    assert found.returncode == 3, found.stderr


@pytest.fixture(scope="module")
def locked(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """One whose first key was made while it ran; the key."""
    home = tmp_path_factory.mktemp("locked")
    with serving(home, tiny, "--threads", "1") as found:
        assert status(found)[0] == 200
        key = made(home, "team-a")
        until(lambda: status(found)[0] == 401)
        yield found, key


def made(home: Path, tenant: str, *flags: str) -> str:
    return llstore(home, "key", "create", tenant, *flags).stdout.strip()


def test_a_key_that_was_made_meanwhile_is_wanted_and_opens(locked: tuple[Server, str]) -> None:
    server, key = locked
    assert status(server, authorization=f"Bearer {key}")[0] == 200
    assert status(server, authorization=f"bearer  {key}")[0] == 200
    for wrong in (
        "",
        "Bearer",
        f"Basic {key}",
        f"Bearer {key[:-1]}",
        f"Bearer {key}0",
        "Bearer llstore-a-b",
        "Bearer ~",
    ):
        assert status(server, authorization=wrong) == (401, "invalid_api_key")
    assert status(server, "/health")[0] == 200
    assert status(server, "/metrics") == (401, "invalid_api_key")


def test_with_keys_the_host_does_not_matter(locked: tuple[Server, str]) -> None:
    server, key = locked
    for headers in ({"host": "elsewhere.example"}, {"origin": "https://elsewhere.example"}):
        assert status(server, authorization=f"Bearer {key}", **headers)[0] == 200


def test_a_key_that_was_disabled_opens_nothing_any_more(locked: tuple[Server, str]) -> None:
    server, _ = locked
    key = made(server.home, "team-b")
    until(lambda: status(server, authorization=f"Bearer {key}")[0] == 200)
    llstore(server.home, "key", "disable", key.split("-")[1])
    until(lambda: status(server, authorization=f"Bearer {key}")[0] == 401)


def test_a_key_of_the_metrics_opens_them_and_nothing_else(locked: tuple[Server, str]) -> None:
    server, key = locked
    metrics = made(server.home, "prometheus", "--metrics")
    until(lambda: status(server, authorization=f"Bearer {metrics}")[0] == 403)
    assert status(server, authorization=f"Bearer {metrics}") == (403, "not_allowed")
    assert status(server, "/metrics", authorization=f"Bearer {key}") == (403, "not_allowed")
    with server.client(metrics) as client:
        assert client.get("/metrics").text.count("llstore:http_requests_total")


def test_a_model_that_is_not_allowed_is_not_there(locked: tuple[Server, str]) -> None:
    server, _ = locked
    key = made(server.home, "team-c", "--model", "other/model")
    until(lambda: status(server, authorization=f"Bearer {key}")[0] == 200)
    with server.client(key) as client:
        assert client.get("/v1/models").json()["data"] == []
        for model in ("test/model", server.digest, None):
            answer = client.post(ASK, json={"model": model, "prompt": "a", "max_tokens": 1})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
            assert "test/model" not in answer.text or model == "test/model"


def test_the_log_has_neither_keys_nor_what_was_asked(locked: tuple[Server, str]) -> None:
    server, key = locked
    secret = key.rpartition("-")[2]
    with server.client(key) as client:
        client.get(f"/v1/models?api_key={key}&prompt={SECRET}")
        client.get(f"/v1/{key}")
        client.get("/v1/models", headers={"x-request-id": key, "x-api-key": key, "user-agent": key, "referer": key})
        client.get("/v1/models", headers={"cookie": f"key={key}"})
        client.get("/v1/models", headers={"authorization": f"Bearer {key}\t, Bearer {key}"})
        for body in ({"prompt": SECRET, "max_tokens": 2}, {"prompt": SECRET, "n": SECRET}, {SECRET: 1}, {"user": key}):
            client.post(ASK, json=body)
        client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": SECRET}], "max_tokens": 1})
        client.post("/v1/chat/completions", json={"messages": [{"role": SECRET}]})
        client.post("/tokenize", json={"content": SECRET, "with_pieces": SECRET})
    with RawClient(server) as client:
        client.send(
            b"GET / HTTP/1.1\r\nAuthorization: Bearer %b\r\nHost : %b\r\n\r\n" % (key.encode(), SECRET.encode())
        )
        client.ends()
    until(lambda: any(line["reason"] == "not HTTP" for line in server.events("refused")))
    log = server.log.read_text()
    assert secret not in log
    assert "launch" not in log


def test_prompts_are_logged_where_that_is_wanted(locked: tuple[Server, str], tmp_path: Path) -> None:
    server, key = locked
    config = server.home / "config" / "llstore.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text("[serve]\nlog_prompts = true\n")
    server.process.send_signal(1)
    until(lambda: any(line["file"] == "settings" for line in server.events("reloaded")))
    with server.client(key) as client:
        client.post(ASK, json={"prompt": "once upon a time", "max_tokens": 1})
        client.post(ASK, json={"prompt": [5, 6, 7], "max_tokens": 1})
        client.post(ASK, json={"prompt": "x" * 9000, "max_tokens": 1})
        client.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "line\nline"}]},
        )
    until(lambda: len([line for line in server.events("request") if "prompt" in line]) == 4)
    prompts = [line["prompt"] for line in server.events("request") if "prompt" in line]
    assert prompts[:2] == ['{"prompt":"once upon a time"}', '{"prompt":[5,6,7]}']
    assert len(prompts[2]) == 500
    assert [said["content"] for said in json.loads(prompts[3])["messages"]] == ["be brief", "line\nline"]


def test_a_settings_file_that_is_wrong_changes_nothing(locked: tuple[Server, str]) -> None:
    server, key = locked
    config = server.home / "config" / "llstore.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text("[serve\nqueue = ")
    server.process.send_signal(1)
    until(lambda: any(line["file"] == "settings" and "error" in line for line in server.events("reloaded")))
    assert status(server, authorization=f"Bearer {key}")[0] == 200
    config.write_text("[serve]\nqueue = -1\n")
    server.process.send_signal(1)
    until(lambda: any("serve.queue" in line.get("error", "") for line in server.events("reloaded")))
    assert status(server, authorization=f"Bearer {key}")[0] == 200
    config.unlink()
