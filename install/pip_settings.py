"""pip's settings as uv's: uv reads neither pip.conf nor PIP_*, and who set up pip expects both to be heard.

What `pip config list` prints is read, so that files, their precedence and PIP_CONFIG_FILE are pip's own business.
"""

import ast
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Later rules over earlier ones, as in `pip install`.
_SECTIONS = ("global", "install", ":env:")
_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url", "i": "index-url", "f": "find-links"}
_SEVERAL = {
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
}
_ONE = {
    "index-url": ("UV_DEFAULT_INDEX",),
    "cert": ("SSL_CERT_FILE",),
    "client-cert": ("SSL_CLIENT_CERT",),
    "proxy": ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
    "timeout": ("UV_HTTP_TIMEOUT",),
    "retries": ("UV_HTTP_RETRIES",),
}
_CA_OF_REQUESTS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # what pip's HTTP library reads by itself
_TRUE = {"1", "true", "yes", "on", "y", "t"}


@dataclass(frozen=True, slots=True)
class UvSettings:
    """What uv is started with: environment variables, and the one setting that has none."""

    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


def pip_settings(listing: Iterable[str]) -> dict[str, str]:
    """The settings in force for `pip install`, from the lines of `pip config list`."""
    sections: dict[str, dict[str, str]] = {name: {} for name in _SECTIONS}
    for line in listing:
        key, separator, value = line.strip().partition("=")
        section, _, name = key.rpartition(".")
        if separator and section in sections:
            sections[section][_ALIASES.get(name, name)] = str(ast.literal_eval(value))
    return {name: value for section in _SECTIONS for name, value in sections[section].items()}


def uv_settings(pip: Mapping[str, str], environment: Mapping[str, str]) -> UvSettings:
    """pip's settings in uv's words. What `environment` says to uv itself (UV_*) stays as it is."""
    # pip takes the best version of all indexes; uv would stop at the first index that knows the name.
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    bundles = [environment[name] for name in _CA_OF_REQUESTS if environment.get(name)]
    if bundles and "SSL_CERT_FILE" not in environment:
        found["SSL_CERT_FILE"] = bundles[0]
    for name, value in pip.items():
        if name in _SEVERAL and value.split():
            variable, separator = _SEVERAL[name]
            found[variable] = separator.join(value.split())
        elif name in _ONE and value:
            found.update(dict.fromkeys(_ONE[name], value))
    if "UV_INDEX_URL" in environment:
        found.pop("UV_DEFAULT_INDEX", None)
    said = {name: environment[name] for name in found if name.startswith("UV_") and environment.get(name)}
    no_index = pip.get("no-index", "").lower() in _TRUE
    return UvSettings({**found, **said}, ("--no-index",) if no_index else ())


def read_settings(python: Path) -> UvSettings:
    """uv's settings for this user, as the pip of `python` sees them."""
    command = [str(python), "-m", "pip", "config", "list", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    return uv_settings(pip_settings(listed.stdout.splitlines()), os.environ)
