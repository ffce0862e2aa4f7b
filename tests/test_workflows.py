"""The workflows of CI: what their steps run, on a machine where nothing is set, and what they keep."""
from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.test_documented_commands import ROOT, check

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ALL = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def steps(path: Path) -> list[dict]:
    """The steps of the first job, the one that runs the gate."""
    first, *_ = yaml.safe_load(path.read_text("utf-8"))["jobs"].values()
    return first["steps"]


def called(step: dict, folder: Path, **variables) -> tuple[list[str], str | None]:
    """The arguments that a step gives to make, and the DETECTOR_PYTHON that make sees (None: unset).

    `variables` are the repository's; one that is not set reaches the step as an empty text.
    """
    program = folder / "make"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "${DETECTOR_PYTHON-unset}" "$@"\n')
    program.chmod(0o755)
    environment = {name: variables.get(name, "") for name in step.get("env", {})}
    ended = subprocess.run(["bash", "-e", "-c", step["run"]], capture_output=True, text=True, timeout=60, check=True,
                           env={**os.environ, **environment, "PATH": f"{folder}:{os.environ['PATH']}"})
    python, *arguments = ended.stdout.splitlines()
    return arguments, None if python == "unset" else python


@pytest.fixture
def inf1() -> dict:
    """The step of inf1.yml that runs the gate."""
    step, = (step for step in steps(ROOT / ".github" / "workflows" / "inf1.yml") if "run" in step)
    return step


def test_the_inf1_gate_runs_where_no_variable_is_set(inf1, tmp_path):
    arguments, python = called(inf1, tmp_path)
    assert python is None, "an empty one would take the place of tox.ini's default"
    assert arguments[0] == "neuron"


def test_the_inf1_gate_takes_the_variables_of_the_repository(inf1, tmp_path):
    given = "--weights my.weights --coco 'my data'"
    arguments, python = called(inf1, tmp_path, DETECTOR_PYTHON="/opt/n/bin/python", GATE_ARGS=given)
    assert python == "/opt/n/bin/python"
    assert arguments[1].startswith("ARGS=") and arguments[1].endswith(given)


def test_the_inf1_gate_fails_with_the_gate(inf1, tmp_path):
    (tmp_path / "make").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "make").chmod(0o755)
    ended = subprocess.run(["bash", "-e", "-c", inf1["run"]], timeout=60, check=False,
                           env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert ended.returncode != 0


def test_what_the_inf1_gate_runs_exists(inf1, tmp_path):
    arguments, _ = called(inf1, tmp_path)
    check(shlex.join(["make", *arguments]), tmp_path)


def test_the_cpu_workflow_runs_what_ci_runs_and_the_gate(tmp_path):
    commands = [step["run"] for step in steps(ROOT / ".github" / "workflows" / "cpu.yml") if "run" in step]
    script, gate = commands
    assert script == ".ci/run" and os.access(ROOT / script, os.X_OK)
    check(gate, tmp_path)


def test_the_cpu_workflow_runs_the_slow_tests_and_the_newest_and_lowest_versions():
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "cpu.yml").read_text("utf-8"))["jobs"]["versions"]
    assert job["strategy"]["matrix"]["environment"] == ["slow", "newest", "lowest", "tf210", "ray"]
    assert job["steps"][-1]["run"] == "make ${{ matrix.environment }}"


def test_the_cpu_workflow_runs_on_every_push():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "cpu.yml").read_text("utf-8"))
    triggers = workflow[True]  # YAML takes "on" for true
    assert triggers["push"] is None  # no branch, tag or path is left out


@ALL
def test_the_evidence_is_kept_whatever_the_outcome(path):
    *_, last = steps(path)
    assert last["uses"].startswith("actions/upload-artifact@") and last["if"] == "always()"
    assert last["with"]["path"].split() == ["report", ".benchmarks"]
    assert last["with"]["include-hidden-files"] is True  # else .benchmarks is left out
