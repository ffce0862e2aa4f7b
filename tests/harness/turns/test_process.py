"""Whatever an arm's process does, the comparison gets what it asked for or one sentence that names the arm."""
from __future__ import annotations

import json
import os
import sys

import psutil
import pytest

from harness.turns.arms import Arm
from harness.turns.checkout import Commit
from harness.turns.process import ArmError, Place, Process
from tests import waiting

COMMIT = Commit("1234567890" * 4, "a title", {})
FACTS = {"dataset": {"annotations": "", "images": "", "names": [], "image_ids": []}, "metadata": {}}
BURST = '{"images": 4, "seconds": 0.5, "latencies": [0.1, 0.2]}'
# An arm that gives the responses which it is started with, one a request, and then runs the last argument.
SCRIPT = """
import json, os, socket, sys, time
line = socket.socket(fileno=json.loads(os.environ["TURNS"])["socket"])
stream = line.makefile("rwb")
for response in sys.argv[1:-1]:
    stream.readline()
    stream.write(response.encode("utf-8", "surrogateescape") + b"\\n")
    stream.flush()
if stream.readline():
    exec(sys.argv[-1])
"""


@pytest.fixture
def start(tmp_path):
    """A function: responses, and what the process does at the next request → the process."""
    started = []

    def starting(*responses: str, then: str = "") -> Process:
        arm = Arm("B", "HEAD", ("--cast", "bf16"))
        place = Place(arm, COMMIT, tmp_path, sys.executable, tmp_path, tmp_path / "log")
        started.append(Process(place, [sys.executable, "-c", SCRIPT, *responses, then]))
        return started[-1]

    yield starting
    for process in started:
        process.end(0)


def load(process, deadline: float = waiting.PATIENCE):
    return process.burst(deadline, first=0, images=4, callers=1, batch_size=1)


def test_responses_are_read(start, tmp_path):
    process = start(json.dumps({**FACTS, "code": str(tmp_path / "model" / "detector.py")}), BURST)
    assert process.hello(waiting.PATIENCE)["metadata"] == {}
    assert load(process) == (4, 0.5, [0.1, 0.2])


@pytest.mark.parametrize(("then", "words"), [
    ("sys.exit(3)", "its process ended with exit code 3"),
    ("sys.exit('no disk')", "its process ended with exit code 1: no disk"),
    ("os.kill(os.getpid(), 9)", "its process was killed by SIGKILL"),
    ("os.kill(os.getpid(), 11)", "its process was killed by SIGSEGV"),
    ("print('E   RuntimeError: the device is gone')", "exit code 0: RuntimeError: the device is gone"),
    ("print('ERROR: not found: x')", "exit code 0: not found: x"),
    ("time.sleep(600)", "gave no response within 2 s and was ended"),
    ("stream.write(b'x' * 9); stream.flush(); time.sleep(600)", "gave no response within 2 s"),
])
def test_a_process_that_ends_or_hangs_is_named(start, then, words):
    with pytest.raises(ArmError) as failed:
        load(start(then=then), 2)
    assert str(failed.value).startswith("B (1234567 a title, --cast bf16): ") and words in str(failed.value)


@pytest.mark.parametrize("response", [
    "", "nonsense", "[]", "3", "{}", '{"images": 4}', '{"images": 0, "seconds": 1, "latencies": [1]}',
    '{"images": 4, "seconds": NaN, "latencies": [1]}', '{"images": 4, "seconds": 1, "latencies": []}',
    '{"images": 4, "seconds": 1, "latencies": [0.1, -1]}', '{"images": 4, "seconds": 1, "latencies": ["x"]}',
    '{"images": true, "seconds": 1, "latencies": [1]}', "[" * 100_000, "\udcff",
])
def test_a_response_that_is_not_a_measurement_is_named(start, response):
    with pytest.raises(ArmError, match="cannot be read"):
        load(start(response))


def test_facts_that_are_not_whole_are_named(start):
    with pytest.raises(ArmError, match="sent facts that cannot be read"):
        start('{"dataset": {}, "metadata": {}}').hello(waiting.PATIENCE)


def test_code_of_another_place_is_named(start):
    """Else one version would be compared with itself."""
    with pytest.raises(ArmError, match=r"runs /elsewhere/detector.py, which is not of its commit"):
        start(json.dumps({**FACTS, "code": "/elsewhere/detector.py"})).hello(waiting.PATIENCE)


def test_an_error_of_the_detector_is_passed_on(start):
    with pytest.raises(ArmError, match="could not be measured: a request failed: no memory"):
        load(start('{"error": "a request failed: no memory"}'))


def test_detections_of_another_digest_are_named(start, tmp_path):
    with pytest.raises(ArmError, match="sent detections that cannot be read"):
        start('{"digest": "x"}').detections(waiting.PATIENCE, tmp_path / "none.npz", callers=1, batch_size=1)


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    place = Place(Arm("A", "HEAD"), COMMIT, tmp_path, "no-such-python", tmp_path, tmp_path / "log")
    with pytest.raises(ArmError, match="could not be started"):
        Process(place)


def test_an_end_takes_all_that_was_started_with_it(start, tmp_path):
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    process = start(then=f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(600)")
    with pytest.raises(ArmError):
        load(process, 3)
    if pid.exists():
        waiting.until(lambda: not psutil.pid_exists(int(pid.read_text())))


def test_an_interrupt_of_the_terminal_does_not_reach_an_arm(start):
    assert os.getpgid(start()._process.pid) != os.getpgid(0)
