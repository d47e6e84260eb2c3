"""The GitHub Action and the recipes in docs/ci.md do what they say, run as their services run them."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from llstore.store import Name, PutRequest, Settings, Store
from llstore.store.lock.project import Wanted
from llstore.store.lock.resolve import renew

ROOT = Path(__file__).parent.parent.parent
ACTION = yaml.safe_load((ROOT / "deploy/action/action.yml").read_text())
DOCS = (ROOT / "docs/ci.md").read_text()
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]


@pytest.fixture
def checkout(bucket: str, tiny: Path, tmp_path: Path) -> Path:
    """A project with a lock of one model in a real bucket; its toml does not say which bucket."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "llstore.toml").write_text('[models]\nchat = {ref = "team/chat", profiles = ["ci"]}\n')
    with Store(Settings(cache=tmp_path / "a/c", data=tmp_path / "a/d", url=bucket)) as store:
        store.put(PutRequest(tiny, name=Name.parse("team/chat")))
        renew(store, [Wanted("chat", "team/chat", profiles=("ci",))], None).save(folder / "llstore.lock")
    return folder


def environment(**more: str) -> dict[str, str]:
    """What a job has: our commands on its PATH, and no package index, for llstore is installed."""
    known = {key: value for key, value in os.environ.items() if not key.startswith("LLSTORE_")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**known, "PATH": path, "PIP_NO_INDEX": "1", **more}


class Job:
    """A runner that has one checkout: its steps run in order, each with what those before it left."""

    def __init__(self, checkout: Path, temp: Path, **inputs: str) -> None:
        assert set(inputs) <= set(ACTION["inputs"])
        self.values = {f"inputs.{name}": given["default"] for name, given in ACTION["inputs"].items()}
        self.values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        self.checkout, self.temp = checkout, temp
        self.environment = environment(RUNNER_TEMP=str(temp))
        temp.mkdir()

    def run(self, *, kept: Path | None = None) -> subprocess.CompletedProcess[str]:
        """All steps, the cache's with what was `kept`; the first that fails, or the last."""
        for step in STEPS:
            if "run" not in step:
                if kept:
                    shutil.copytree(kept, self.fill(step["with"]["path"]), copy_function=shutil.copy2)
                continue
            ran = self.step(step)
            if ran.returncode:
                break
        return ran

    def step(self, step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "values are variables, never text of the script"
        script, out, env = self.temp / "script", self.temp / "out", self.temp / "env"
        script.write_text(step["run"])
        for file in (out, env):
            file.write_text("")
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
            cwd=self.checkout / self.fill(step.get("working-directory", ".")),
            env={
                **self.environment,
                **{key: self.fill(value) for key, value in step.get("env", {}).items()},
                "GITHUB_OUTPUT": str(out),
                "GITHUB_ENV": str(env),
            },
            capture_output=True,
            text=True,
        )
        for line in out.read_text().splitlines():
            name, _, value = line.partition("=")
            self.values[f"steps.{step['id']}.outputs.{name}"] = value
        self.environment |= dict(line.split("=", 1) for line in env.read_text().splitlines())
        return ran

    def fill(self, text: str) -> str:
        """The text with its expressions replaced by their values."""
        return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: self.values[found[1]], text)

    def output(self, name: str) -> str:
        return self.fill(ACTION["outputs"][name]["value"])


def test_the_action_syncs_and_tells_paths_and_key(checkout: Path, bucket: str, tmp_path: Path, tiny: Path) -> None:
    job = Job(checkout, tmp_path / "one", store=bucket, extras="run", version=version("llstore"))
    ran = job.run()
    assert ran.returncode == 0, ran.stderr
    path = Path(json.loads(job.output("paths"))["chat"])
    assert path.read_bytes() == tiny.read_bytes()
    assert path.is_relative_to(tmp_path / "one/llstore/cache")
    assert re.fullmatch(r"llstore-v1-[0-9a-f]{32}", job.output("key"))
    assert job.output("key").startswith(job.values["steps.key.outputs.prefix"])
    # The job's next step needs no word of ours.
    after = subprocess.run(["llstore", "get", "team/chat"], env=job.environment, capture_output=True, text=True)
    assert (after.stdout.strip(), after.returncode) == (str(path), 0)


def test_a_second_job_has_it_all_from_the_cache(checkout: Path, bucket: str, tmp_path: Path, tiny: Path) -> None:
    first = Job(checkout, tmp_path / "one", store=bucket, profile="ci")
    assert first.run().returncode == 0
    away = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", bucket)
    second = Job(checkout, tmp_path / "two", store=away, profile="ci")
    ran = second.run(kept=Path(first.values["steps.key.outputs.folder"]))
    assert ran.returncode == 0, ran.stderr
    assert Path(json.loads(second.output("paths"))["chat"]).read_bytes() == tiny.read_bytes()
    assert second.output("key") == first.output("key")


def test_the_action_fails_as_llstore_does_and_runs_no_input(checkout: Path, bucket: str, tmp_path: Path) -> None:
    hostile = Job(checkout, tmp_path / "one", store=bucket, profile='ci"; touch pwned; echo "$(touch pwned)')
    assert hostile.run().returncode == 2
    assert not list(tmp_path.rglob("pwned"))
    (checkout / "llstore.toml").write_text('[models]\nchat = "team/other"\n')
    broken = Job(checkout, tmp_path / "two", store=bucket)
    ran = broken.run()
    assert (ran.returncode, "llstore.toml says team/other" in ran.stderr) == (8, True)
    with pytest.raises(KeyError):
        broken.output("paths")


def test_every_expression_of_the_action_names_something_that_is_there() -> None:
    ids = {step["id"] for step in STEPS if "id" in step}
    for expression in re.findall(r"\$\{\{(.*?)\}\}", (ROOT / "deploy/action/action.yml").read_text()):
        kind, name, *_ = expression.strip().split(".")
        assert name in (ACTION["inputs"] if kind == "inputs" else ids), expression
    assert all(text["description"] for text in (*ACTION["inputs"].values(), *ACTION["outputs"].values()))


def test_the_docs_example_uses_what_the_action_has() -> None:
    steps = yaml.safe_load(block("yaml", "runs-on"))["jobs"]["test"]["steps"]
    (ours,) = [step for step in steps if step.get("uses") == "./deploy/action"]
    assert set(ours["with"]) <= set(ACTION["inputs"])
    assert all(f"`{name}`" in DOCS for name in (*ACTION["inputs"], *ACTION["outputs"]))


def block(language: str, word: str) -> str:
    """The fenced block of docs/ci.md in that language that holds the word."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL) if word in text)


def test_the_shell_recipe_runs_as_it_stands(checkout: Path, bucket: str, tiny: Path) -> None:
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("sh", "llstore sync")],
        cwd=checkout,
        env=environment(LLSTORE_STORE=bucket),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    digest, path = ran.stdout.splitlines()[-1].split()
    assert (Path(path).name, Path(path).read_bytes()) == (digest, tiny.read_bytes())


def test_the_gitlab_recipe_fills_the_folder_that_it_keeps(checkout: Path, bucket: str) -> None:
    job = yaml.safe_load(block("yaml", "CI_PROJECT_DIR"))["models"]
    home = job["variables"]["LLSTORE_HOME"].replace("$CI_PROJECT_DIR", str(checkout))
    ran = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(job["script"])],
        cwd=checkout,
        env=environment(LLSTORE_STORE=bucket, LLSTORE_HOME=home),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    (kept,) = job["cache"]["paths"]
    assert list((checkout / kept / "blobs").rglob("?" * 64))
    assert [(checkout / file).is_file() for file in job["cache"]["key"]["files"]] == [True]
