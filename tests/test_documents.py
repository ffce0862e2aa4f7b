"""Every command that README.md and docs/ print is run, or checked as far as this machine can; an unknown one fails.

`make` and `tox` are followed to the commands that tox.ini gives, so that these are what is checked.
"""
from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model.__main__ import _parser

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(r"(sudo )?([\w~./-]*/bin/)?(make|tox|pytest|pytest-benchmark|python[\d.]*|pip|git|apt-get)( |$)")
# What cannot be tried without the device, an account or the network, and why.
NOT_HERE = {
    r"sudo apt-get install linux-headers": "AWS's drivers, for Inferentia instances alone",
    r"python3\.10 -m venv ~/neuron": "the environment of the next one",
    r"~/neuron/bin/pip install .tensorflow-neuron": "AWS's own package index",
    r"git clone …": "the reader's own address",
}
# What README and docs leave to the reader, by option or by value.
GIVEN = {
    "--cfg": "FILE", "--weights": "FILE", "--coco": "DIR", "--annotations": "FILE", "--images": "DIR",
    "--names": "FILE", "--report": "DIR",
    "--detector-python": sys.executable, "--profile": "aws", "--cast": "all",
}
KIND = "empty"


def commands(text: str) -> list[str]:
    """The commands in code blocks and in code within sentences, each once, as they would be typed."""
    blocks = "\n".join(re.findall(r"^ *```(?:sh|bash|console|)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE))
    outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = blocks.replace("\\\n", " ").splitlines() + re.findall(r"`([^`]+)`", outside)
    typed = [re.sub(r"\s+# .*", "", line).strip().removeprefix("$ ") for line in lines]
    parts = [part.strip() for line in typed if PROGRAM.match(line) for part in line.split("&&")]
    return list(dict.fromkeys(re.sub(r"\s+", " ", part) for part in parts if PROGRAM.match(part)))


DOCUMENTED = list(dict.fromkeys(command for path in DOCUMENTS for command in commands(path.read_text("utf-8"))))


def run(*arguments, **options) -> str:
    """What the program prints, which must end well."""
    ended = subprocess.run([*map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=300, check=False, **options)
    assert ended.returncode == 0, f"{shlex.join(map(str, arguments))}\nended with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


def tox_commands(environment: str, arguments: str) -> list[str]:
    """The commands of an environment of tox.ini with these arguments."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    lines = ini[f"testenv:{environment}"]["commands"].replace("\\\n", " ").strip()
    lines = re.sub(r"\{posargs:?([^}]*)\}", lambda found: arguments or found[1], lines)
    return re.sub(r"\{env:\w+:[^}]*\}", sys.executable, lines).splitlines()


def check_make(words: list, folder) -> None:
    """Follows make, without running it, to tox; what CI runs as it is needs no more."""
    if shlex.join(words) in (ROOT / ".ci" / "run").read_text().splitlines():
        return
    recipe = run("make", "-n", *words[1:], f"PYTHON={sys.executable}")
    if scripts := re.findall(r"bash (\S+\.sh) \w+$", recipe, re.MULTILINE):
        run("bash", "-n", *scripts)
        return
    calls = re.findall(r"tox run -q -e (\w+) -- ?(.*)", recipe)
    assert calls, f"make {words[1:]} does not lead to tox:\n{recipe}"
    for environment, arguments in calls:
        for command in tox_commands(environment, arguments):
            check(command, folder)


def check_tox(words: list, folder) -> None:
    arguments = shlex.join(words[words.index("--") + 1:]) if "--" in words else ""
    for command in tox_commands(words[words.index("-e") + 1], arguments):
        check(command, folder)


def check_pytest(words: list, folder) -> None:
    """Collects with these arguments, which must select tests."""
    printed = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only",
                  *_filled(words[1:], folder))
    assert "--help" in words or re.search(r"^\d+(/\d+)? tests? collected", printed, re.MULTILINE), printed


def _filled(arguments: list, folder, given=GIVEN) -> list:
    """The arguments with something in place of what the reader has: files, folders, names."""
    places = {"FILE": folder / "file", "DIR": folder}
    places["FILE"].write_text("")
    filled, option = [], ""
    for argument in arguments:
        if argument != "random" and option in given:
            argument = places.get(given[option], given[option])
        filled.append(str(argument).replace("faulty:KIND", f"faulty:{KIND}"))
        option = argument
    return [argument for argument in filled if argument != "…"]


def check_python(words: list, folder) -> None:
    """`python -m model` takes the arguments; every other module of ours says what it takes. Their tests run them."""
    assert words[1] == "-m", f"only modules are documented, not {words}"
    if words[2] == "model":
        places = {option: place for option, place in GIVEN.items() if place == "FILE"}
        _parser().parse_args(_filled(words[3:], folder, places))
    else:
        assert "usage" in run(sys.executable, "-m", words[2], "--help")


def check_pip(words: list, folder) -> None:
    """What the reader may add is what the project's own environments have."""
    known = "\n".join(path.read_text() for path in ROOT.glob("requirements*.txt"))
    for package in words[2:]:
        assert re.search(rf"^{re.escape(package)}\b", known, re.MULTILINE), f"{package} is in no requirements file"


def check_benchmark(words: list, folder) -> None:
    run(Path(sys.executable).with_name("pytest-benchmark"), "--storage", folder.as_uri(), *words[1:])


CHECKS = {"make": check_make, "tox": check_tox, "pytest": check_pytest, "python": check_python, "pip": check_pip,
          "pytest-benchmark": check_benchmark}


def check(command: str, folder) -> None:
    words = shlex.split(command)
    program = Path(words[0]).name
    assert program in CHECKS, f"`{command}`: nothing runs it. Add it to CHECKS, or with the reason to NOT_HERE"
    CHECKS[program](words, folder)


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_command_runs(command, tmp_path):
    if not any(re.match(pattern, command) for pattern in NOT_HERE):
        check(command, tmp_path)


def test_what_is_not_run_is_still_documented():
    assert [pattern for pattern in NOT_HERE if not any(re.match(pattern, command) for command in DOCUMENTED)] == []


@pytest.mark.parametrize(("command", "words"), [
    ("docker run gate", "nothing runs it"),
    ("make deploy", "No rule to make target"),
    ("make gate ARGS='-m accuracy --no-such-option'", "unrecognized arguments: --no-such-option"),
    ("pytest tests/gates -m speediness", "Unknown marker"),
    ("pytest tests/gates/test_no_such.py", "file or directory not found"),
    ("python -m benchmarks.no_such", "No module named"),
    ("pip install no-such-package", "no-such-package is in no requirements file"),
    ("tox -e peers -- --no-such-option", "unrecognized arguments"),
])
def test_command_that_does_not_run_is_noticed(command, words, tmp_path):
    with pytest.raises(AssertionError, match=words):
        check(command, tmp_path)


def test_model_command_with_a_wrong_option_is_noticed(tmp_path):
    with pytest.raises(SystemExit):
        check("python -m model detect --no-such-option", tmp_path)


def test_commands_are_read_from_blocks_and_sentences():
    text = "Say `make x\nARGS=1` or `word`.\n"
    text += "```\n$ tox -e y && pip install z  # why\n+ output\n```\n```python\nmake = 1\n```\n"
    assert commands(text) == ["tox -e y", "pip install z", "make x ARGS=1"]


# The modules of what only the project's own tests need.
TEST_PACKAGES = ("cv2", "safetensors", "s3fs", "moto", "mlperf_loadgen")


@pytest.mark.parametrize("arguments", [[], ["-m", "accuracy"]], ids=["pytest", "accuracy"])
def test_pytest_collects_the_gate_without_what_only_tests_need(arguments):
    program = (f"import sys, pytest\nsys.modules.update(dict.fromkeys({TEST_PACKAGES!r}))\n"
               "sys.exit(pytest.main(sys.argv[1:]))")
    printed = run(sys.executable, "-c", program, "--collect-only", "-q", "-p", "no:cacheprovider", *arguments)
    found = re.findall(r"^(tests/\S+)::", printed, re.MULTILINE)
    assert found and all(name.startswith("tests/gates/") for name in found)


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["gate", "accuracy"])
def test_make_keeps_the_results_where_no_speed_was_measured(environment, tmp_path):
    command, = tox_commands(environment, f"-m accuracy --limit 4 --report {tmp_path}")
    printed = run(sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider",
                  env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    assert "PASS     accuracy  AP" in printed and "Traceback" not in printed
    assert (tmp_path / "results.json").is_file()
