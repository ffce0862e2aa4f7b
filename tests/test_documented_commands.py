"""Every command that README.md and docs/ print is run, or checked as far as this machine can; an unknown one fails.

`make` and `tox` are followed to the commands that tox.ini gives, so that these are what is checked.
"""
from __future__ import annotations

import atexit
import configparser
import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Callable

import pytest

from tests import trial

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM = re.compile(r"(sudo )?([\w~./-]*/bin/)?(make|tox|pytest|pytest-benchmark|python[\d.]*|pip|git|apt-get)( |$)")
# What cannot be tried without the device, an account or the network, and why.
BARE = "needs a bare Inferentia instance; tests/test_inferentia_page.py types it where one is stood in for"
NOT_HERE = {
    r"sudo (apt-get|dnf|mkdir|rpm|modprobe) ": BARE,
    r"sudo (ubuntu-drivers|reboot)|nvidia-smi": "needs root, and an NVIDIA GPU",
    r"curl .*\.repos\.neuron\.amazonaws\.com/": BARE,
    r"(echo|printf) .*\.repos\.neuron\.amazonaws\.com.* \| sudo tee /etc/": BARE,
    r"export PATH=/opt/aws/neuron/bin": BARE,
    r"git clone \S*pyenv": BARE,
    r"~/\.pyenv/": BARE,
    r"~/neuron/bin/python -m pip install ": BARE,
    r"python3\.(9|10) -m venv ~/neuron": "the environment of the next one",
    r"git clone … gate": "the reader's own address",
    r"cd gate": "what the one before has made",
    r"ray (up|dashboard|job submit|rsync-down|down) ": "needs an account; a test reads the files",
    r"kubectl ": "needs a Kubernetes cluster",
    r"export DETECTOR_PYTHON=": "the environment that was made before",
}
# What README and docs leave to the reader, by option or by value.
GIVEN = {
    "--cfg": "FILE", "--weights": "FILE", "--coco": "DIR", "--annotations": "FILE", "--images": "DIR",
    "--names": "FILE", "--report": "DIR", "--junitxml": "FILE",
    "--detector-python": sys.executable, "--cache-dir": "DIR", "--profile": "aws", "--cast": "all",
    "--targets": "TARGETS", "--prices": "PRICES",
}
EXAMPLES_OF = {"python": "any-detector.md", "toml": "targets.md"}  # language of an example → the page that has it
KIND = "empty"


def fences(text: str) -> list[tuple[str, str]]:
    """(language, content) of each code block."""
    return re.findall(r"^ *```([^\n]*)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """The commands, each once, as they would be typed: every line of a block of sh, and those in code in sentences."""
    blocks = "\n".join(content for language, content in fences(text) if language == "sh")
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    quoted = [code for code in re.findall(r"`([^`]+)`", outside) if PROGRAM.match(code)]
    typed = [re.sub(r"(^|\s+)# .*", "", line) for line in blocks.replace("\\\n", " ").splitlines() + quoted]
    parts = [" ".join(part.split()) for line in typed for part in line.split("&&")]
    return list(dict.fromkeys(filter(None, parts)))


DOCUMENTED = list(dict.fromkeys(command for path in DOCUMENTS for command in commands(path.read_text("utf-8"))))


# The files of bounds and of prices that docs/targets.md shows.
EXAMPLES = [content for language, content in fences((ROOT / "docs" / "targets.md").read_text("utf-8"))
            if language == "toml"]


def run(*arguments, **options) -> str:
    """What the program prints, which must end well."""
    ended = subprocess.run([*map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=300, check=False, **options)
    assert ended.returncode == 0, f"{shlex.join(map(str, arguments))}\nended with {ended.returncode}:\n{ended.stdout}"
    return ended.stdout


@cache
def processes() -> ProcessPoolExecutor:
    """One process that tries what documented commands would run, in turn."""
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    atexit.register(pool.shutdown)
    return pool


def tried(what: Callable, *arguments) -> str:
    """What one of `tests.trial` prints, which must end well."""
    code, printed = processes().submit(what, *arguments).result(timeout=300)
    assert code == 0, f"{what.__name__} {arguments}\nended with {code}:\n{printed}"
    return printed


def tox_commands(environment: str, arguments: str | None) -> list[str]:
    """The commands of an environment of tox.ini with the arguments after `--`; None without one: with its own."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(ROOT / "tox.ini")
    lines = ini[f"testenv:{environment}"]["commands"].replace("\\\n", " ").strip()
    lines = re.sub(r"\{posargs:?([^}]*)\}", lambda found: found[1] if arguments is None else arguments, lines)
    return re.sub(r"\{env:\w+:[^}]*\}", sys.executable, lines).splitlines()


def check_make(words: list, folder) -> None:
    """Follows make, without running it, to tox; what CI runs as it is needs no more."""
    if shlex.join(words) in (ROOT / ".ci" / "run").read_text().splitlines():
        return
    recipe = run("make", "-n", *words[1:], f"PYTHON={sys.executable}")
    if scripts := re.findall(r"bash (\S+\.sh) \w+$", recipe, re.MULTILINE):
        run("bash", "-n", *scripts)
        return
    calls = tox_calls(recipe)
    assert calls, f"make {words[1:]} does not lead to tox:\n{recipe}"
    for environment, arguments in calls:
        for command in tox_commands(environment, arguments):
            check(command, folder)


def tox_calls(recipe: str) -> list[tuple[str, str | None]]:
    """The environment of each call of tox in a recipe, and its arguments as of `tox_commands`."""
    calls = re.finditer(r"tox run -q -e (\w+) *(?:(--) *(.*))?$", recipe, re.MULTILINE)
    return [(found[1], found[3] if found[2] else None) for found in calls]


def check_tox(words: list, folder) -> None:
    arguments = shlex.join(words[words.index("--") + 1:]) if "--" in words else None
    for command in tox_commands(words[words.index("-e") + 1], arguments):
        check(command, folder)


def check_pytest(words: list, folder) -> None:
    """Collects with these arguments, which must select tests. Those of a Ray cluster need Ray."""
    if "--ray" in words:
        pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-ray.txt")
    printed = collected(*_filled(words[1:], folder))
    assert "--help" in words or re.search(r"^\d+(/\d+)? tests? collected", printed, re.MULTILINE), printed


@cache  # several commands lead to the same
def collected(*arguments: str) -> str:
    """What pytest prints that collects with these arguments."""
    return tried(trial.collect, list(arguments))


def _filled(arguments: list, folder, given=GIVEN) -> list:
    """The arguments with something in place of what the reader has: files, folders, names."""
    places = {"FILE": folder / "file", "DIR": folder, "TARGETS": folder / "targets.toml",
              "PRICES": folder / "prices.toml"}
    own = folder / "detector.py"
    for file in (places["FILE"], own):
        file.write_text("")
    for name, content in zip(("TARGETS", "PRICES"), EXAMPLES):
        places[name].write_text(content, encoding="utf-8")
    filled, option = [], ""
    for argument in arguments:
        if argument != "random" and option in given:
            argument = places.get(given[option], given[option])
        elif argument == f"{own.name}:make":
            argument = f"{own}:make"
        filled.append(argument if isinstance(argument, Path) else argument.replace("faulty:KIND", f"faulty:{KIND}"))
        option = argument
    return [str(argument) for argument in filled if argument != "…"]


def check_python(words: list, folder) -> None:
    """A module of ours reads the arguments; its own tests run it."""
    assert words[1] == "-m", f"only modules are documented, not {words}"
    if words[2] == "pytest":
        check_pytest(words[2:], folder)
    else:
        files = {option: place for option, place in GIVEN.items() if place in ("FILE", "TARGETS")}
        tried(trial.parse, words[2], _filled(words[3:], folder, files))


def check_pip(words: list, folder) -> None:
    """What the reader may add is what the project's own environments have."""
    known = "\n".join(path.read_text() for path in ROOT.glob("requirements*.txt"))
    if words[2:] and words[-2] == "-r":
        assert (ROOT / words[-1]).is_file()
        return
    for package in words[2:]:
        assert re.search(rf"^{re.escape(package)}\b", known, re.MULTILINE), f"{package} is in no requirements file"


def check_benchmark(words: list, folder) -> None:
    run(Path(sys.executable).with_name("pytest-benchmark"), "--storage", folder.as_uri(), *words[1:])


CHECKS = {"make": check_make, "tox": check_tox, "pytest": check_pytest, "python": check_python, "pip": check_pip,
          "pytest-benchmark": check_benchmark}


def check(command: str, folder) -> None:
    words = shlex.split(command)
    program = re.sub(r"^python[\d.]+$", "python", Path(words[0]).name)
    assert program in CHECKS, f"`{command}`: nothing runs it. Add it to CHECKS, or with the reason to NOT_HERE"
    CHECKS[program](words, folder)


@pytest.mark.parametrize("command", DOCUMENTED)
def test_documented_command_runs(command, tmp_path):
    if not any(re.match(pattern, command) for pattern in NOT_HERE):
        check(command, tmp_path)


@pytest.mark.parametrize("target", ["gate", "test", "slow", "accuracy", "performance", "newest", "lowest", "tf210",
                                    "browser", "examples", "ray", "lint", "gpu", "neuron"])
def test_a_target_without_arguments_leaves_an_environment_its_own(target):
    """tox takes a bare `--` for an empty list of arguments, with which pytest would run the gates and nothing else."""
    given = [arguments for _, arguments in tox_calls(run("make", "-n", target, f"PYTHON={sys.executable}"))]
    assert given
    assert "" not in given


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_says_what_it_is(path):
    """Commands (sh), what they print (text), a part of a workflow (yaml) or a file of rows (toml): all are checked."""
    languages = {language for language, _ in fences(path.read_text("utf-8"))}
    assert languages <= {"sh", "text", "yaml"} | {one for one, page in EXAMPLES_OF.items() if page == path.name}


def test_the_example_files_are_read():
    """The commands beside them are given these very files: one of bounds, one of prices."""
    assert [content.splitlines()[0] for content in EXAMPLES] == ["# targets.toml", "# prices.toml"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_shell_can_read_every_block(path):
    for content in (content for language, content in fences(path.read_text("utf-8")) if language == "sh"):
        run("bash", "-n", "-c", content)


def test_what_is_not_run_is_still_documented():
    assert [pattern for pattern in NOT_HERE if not any(re.match(pattern, command) for command in DOCUMENTED)] == []


@pytest.mark.parametrize(("command", "words"), [
    ("docker run gate", "nothing runs it"),
    ("FOO=1 surprise", "nothing runs it"),
    (".tox/tests/bin/python -m pytest tests/no_such_room", "file or directory not found"),
    ("make deploy", "No rule to make target"),
    ("make gate ARGS='-m accuracy --no-such-option'", "unrecognized arguments: --no-such-option"),
    ("pytest tests/gates -m speediness", "Unknown marker"),
    ("pytest tests/gates/test_no_such.py", "file or directory not found"),
    ("python -m benchmarks.no_such", "No module named"),
    ("python -m benchmarks.promises --no-such-option", "unrecognized arguments"),
    ("python -m benchmarks.case", "reads no arguments"),
    ("python -m model detect --no-such-option", "ended with 2"),
    ("pip install no-such-package", "no-such-package is in no requirements file"),
    ("tox -e peers -- --no-such-option", "unrecognized arguments"),
])
def test_command_that_does_not_run_is_noticed(command, words, tmp_path):
    with pytest.raises(AssertionError, match=words):
        check(command, tmp_path)


def test_commands_are_read_from_blocks_and_sentences():
    text = "Say `make x\nARGS=1` or `word`.\n"
    text += "```sh\ntox -e y && pip install z  # why\nsurprise \\\n  me\n# a remark\n```\n```text\nmake = 1\n```\n"
    assert commands(text) == ["tox -e y", "pip install z", "surprise me", "make x ARGS=1"]


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
    command, = tox_commands(environment, f"-m accuracy --limit 4 --report {tmp_path} --history none")
    printed = run(sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider",
                  env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    assert "PASS     accuracy  AP" in printed and "Traceback" not in printed
    assert (tmp_path / "results.json").is_file()
