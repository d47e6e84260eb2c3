"""What a user told pip, uv heeds too: indexes, certificates, proxies, patience."""

import subprocess
import sys
from pathlib import Path

from pip_settings import pip_settings, uv_settings

BEST_MATCH = {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def translated(*lines: str, **environment: str) -> dict[str, str]:
    return dict(uv_settings(pip_settings(lines), environment).environment)


def test_every_setting_of_pip_that_reaches_an_index_has_its_word_in_uv() -> None:
    found = translated(
        "global.cert='/etc/ca.pem'",
        "global.client-cert='/etc/me.pem'",
        "global.extra-index-url='https://a.test/simple https://b.test/simple'",
        "global.find-links='wheels /srv/wheels'",
        "global.index-url='https://main.test/simple'",
        "global.retries='2'",
        "global.timeout='30'",
        "global.trusted-host='a.test b.test:8443'",
    )
    assert found == BEST_MATCH | {
        "SSL_CERT_FILE": "/etc/ca.pem",
        "SSL_CLIENT_CERT": "/etc/me.pem",
        "UV_DEFAULT_INDEX": "https://main.test/simple",
        "UV_FIND_LINKS": "wheels,/srv/wheels",
        "UV_HTTP_RETRIES": "2",
        "UV_HTTP_TIMEOUT": "30",
        "UV_INDEX": "https://a.test/simple https://b.test/simple",
        "UV_INSECURE_HOST": "a.test b.test:8443",
    }


def test_a_proxy_is_one_for_both_schemes_however_it_is_spelled() -> None:
    found = translated("global.proxy='http://proxy.test:3128'")
    assert found.keys() - BEST_MATCH.keys() == {"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"}


def test_the_environment_rules_over_the_command_and_the_command_over_the_rest() -> None:
    lines = [":env:.index-url='https://env.test/'", "global.index-url='https://all.test/'", "global.timeout='1'"]
    found = translated(*lines, "install.index-url='https://install.test/'", "install.timeout='2'", "freeze.timeout='3'")
    assert (found["UV_DEFAULT_INDEX"], found["UV_HTTP_TIMEOUT"]) == ("https://env.test/", "2")


def test_values_on_several_lines_of_a_file_are_several_values() -> None:
    assert (
        translated(r"global.extra-index-url='\nhttps://a.test/\nhttps://b.test/'")["UV_INDEX"]
        == "https://a.test/ https://b.test/"
    )


def test_no_index_is_an_argument_for_uv_has_no_variable_for_it() -> None:
    assert uv_settings(pip_settings([":env:.no-index='1'"]), {}).arguments == ("--no-index",)
    assert uv_settings(pip_settings([":env:.no-index='false'"]), {}).arguments == ()


def test_what_is_said_to_uv_itself_stays() -> None:
    found = translated(
        "global.index-url='https://pip.test/'",
        "global.timeout='5'",
        UV_HTTP_TIMEOUT="9",
        UV_INDEX_URL="https://uv.test/",
    )
    assert found["UV_HTTP_TIMEOUT"] == "9"
    assert "UV_DEFAULT_INDEX" not in found


def test_the_certificates_that_requests_reads_are_uvs_where_pip_names_none() -> None:
    assert translated(REQUESTS_CA_BUNDLE="/r.pem", CURL_CA_BUNDLE="/c.pem")["SSL_CERT_FILE"] == "/r.pem"
    assert translated("global.cert='/pip.pem'", REQUESTS_CA_BUNDLE="/r.pem")["SSL_CERT_FILE"] == "/pip.pem"
    assert translated(SSL_CERT_FILE="/own.pem", CURL_CA_BUNDLE="/c.pem") == BEST_MATCH


def test_pip_itself_lists_a_file_as_it_is_read_here(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://main.test/simple\nextra-index-url =\n  https://a.test/\n  https://b.test/\n"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(file), "PIP_TIMEOUT": "7"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    found = translated(*lines)
    assert (found["UV_DEFAULT_INDEX"], found["UV_HTTP_TIMEOUT"]) == ("https://main.test/simple", "7")
    assert {"https://a.test/", "https://b.test/"} <= set(found["UV_INDEX"].split())
