"""The manifests of examples/cluster/: valid for Kubernetes, and their commands do what they are there for."""
from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.fixtures.gate import run_gate

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "examples" / "cluster" / "indexed-job.yaml"
PARTS = 2
needs_schema = pytest.mark.skipif(
    not find_spec("kubernetes_validate") and os.environ.get("REQUIRE_RAY") != "1",
    reason="needs kubernetes-validate (tox -e ray)")


@pytest.fixture(scope="module")
def job() -> dict:
    return yaml.safe_load(JOB.read_text("utf-8"))


@needs_schema
def test_the_job_is_valid_for_kubernetes(job):
    import kubernetes_validate

    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@needs_schema
def test_a_misspelt_field_would_be_noticed(job):
    import kubernetes_validate

    wrong = {**job, "spec": {**job["spec"], "completionmode": "Indexed"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_completions_parallelism_and_parts_are_one_number(job):
    variables = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert {job["spec"]["completions"], job["spec"]["parallelism"], int(variables["PARTS"])} == {16}


@pytest.mark.slow
def test_the_pods_command_publishes_shards_that_the_merge_command_judges(job, tmp_path):
    """Each pod's command as the manifest has it, on the embedded default; the merge before and after the last part."""
    *_, script = job["spec"]["template"]["spec"]["containers"][0]["command"]
    shards, cache = tmp_path / "shards", tmp_path / "cache"
    given = {"PARTS": str(PARTS), "SHARDS": shards.as_uri(), "CACHE": str(cache), "GATE_OPTIONS": ""}
    merge = ("--shards", shards.as_uri(), "--cache-dir", cache)
    for index in range(PARTS):
        if index:
            before = run_gate(*merge)
            assert before.returncode == 1 and "3 of 7 shards are missing (numbers 2, 4, 6)" in " ".join(
                before.stdout.split()), before.stdout
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ended = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600,
                               env={**os.environ, **given, "JOB_COMPLETION_INDEX": str(index), "PATH": path})
        assert ended.returncode == 0, ended.stdout + ended.stderr
    after = run_gate(*merge)
    assert after.returncode == 0 and "PASS     accuracy  AP      0.658" in after.stdout, after.stdout
