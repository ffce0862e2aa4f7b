"""A process of another interpreter: it responds, and whatever becomes of it is an error in time, with its output."""
from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from model.worker import client as process
from model.worker import responses
from model.worker.client import ROOT, RemoteError, Worker, WorkerError
from model.worker.protocol import MAGIC, PREFIX, FrameError, frame
from tests.model.interpreters import pythons
from tests.waiting import PATIENCE, until

JOBS = "tests.model.jobs"


@pytest.fixture(scope="module")
def lasting():
    """A process that every test leaves alive."""
    with Worker(sys.executable) as worker:
        yield worker


@pytest.fixture
def worker():
    with Worker(sys.executable) as worker:
        yield worker


def call(worker, job, deadline=30, **arguments):
    return worker.call(f"{JOBS}:{job}", deadline, **arguments)


def gone(pid, seconds=10.0) -> bool:
    """Whether the process ends within so many seconds; one that nobody has asked for its status yet has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def stop_for_good(pid) -> None:
    """Stops a process, and waits until it is."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def pid_of(worker) -> int:
    return worker.call("os:getpid")


def test_a_function_is_called_with_its_arguments(lasting):
    assert call(lasting, "echo", a=[1, 2.5, None], b={"é": True}) == {"a": [1, 2.5, None], "b": {"é": True}}


def test_the_process_is_of_the_interpreter_that_was_named(lasting):
    assert lasting.call("platform:python_version") == lasting.python
    assert pid_of(lasting) != os.getpid() and 0 < lasting.startup_seconds < 60


def test_a_text_of_megabytes_goes_there_and_back(lasting):
    text = "ü" * 2_000_000
    assert call(lasting, "echo", text=text) == {"text": text} and call(lasting, "length", text=text) == len(text)


FAILURES = {
    "an exception": (("fail", {"message": "no such key\nsecond line"}), "LookupError", "no such key\nsecond line"),
    "an exit": (("leave", {"status": 3}), "SystemExit", "3"),
    "a result that JSON cannot say": (("no_json", {}), "TypeError", "Object of type set is not JSON serializable"),
    "too long a result": (("repeat", {"text": "x", "times": 17_000_000}), "FrameError", "a header of 17,000,0.. bytes"),
    "a missing argument": (("length", {}), "TypeError", r"length\(\) missing 1 required positional argument: 'text'"),
    "no such function": (("nothing", {}), "AttributeError", "has no attribute 'nothing'"),
}


@pytest.mark.parametrize("job, kind, message", FAILURES.values(), ids=FAILURES)
def test_what_a_function_raises_comes_back_and_the_process_lives_on(lasting, job, kind, message):
    name, arguments = job
    with pytest.raises(RemoteError, match=message) as raised:
        call(lasting, name, **arguments)
    assert (raised.value.type, str(raised.value).startswith(f"{sys.executable}: {kind}: ")) == (kind, True)
    assert raised.value.traceback.startswith("Traceback (most recent call last):")
    assert call(lasting, "echo") == {}


def test_a_module_that_is_not_there_and_a_kind_that_is_none_are_errors(lasting):
    with pytest.raises(RemoteError, match="No module named 'nowhere'"):
        lasting.call("nowhere:function")
    with pytest.raises(RemoteError, match="KeyError: 'dance'"):
        lasting.ask("dance")


def test_what_the_process_prints_does_not_reach_the_answers(lasting):
    assert call(lasting, "chatter", lines=20_000) is None
    assert call(lasting, "echo", a=1) == {"a": 1}
    lines = lasting.output()
    assert 0 < len(lines) <= 50 and all(line.isprintable() and len(line) <= 400 for line in lines)


def test_of_endless_output_little_is_kept(lasting):
    call(lasting, "chatter", lines=20_000)
    assert len(lasting._output._tail) <= lasting._output.TAIL


def test_the_variables_of_this_python_are_not_those_of_that_one(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("NEURON_PROCESS_TAG", "ours")
    with Worker(sys.executable, {"NEURON_RT_LOG_LEVEL": "INFO"}) as worker:
        def value(key):
            return worker.call("os:getenv", key=key)

        assert [value(key) for key in ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")] == [None] * 3
        assert [value(key) for key in ("NEURON_PROCESS_TAG", "NEURON_RT_LOG_LEVEL")] == ["ours", "INFO"]


def test_a_variable_that_is_given_is_that_ones_even_for_python(tmp_path):
    (tmp_path / "onlythere.py").write_text("def function(): return 'found'")
    with Worker(sys.executable, {"PYTHONPATH": str(tmp_path)}) as worker:
        assert worker.call("onlythere:function") == "found"


def test_the_project_comes_before_a_module_of_the_same_name(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    with Worker(sys.executable, {"PYTHONPATH": str(tmp_path)}) as worker:
        assert call(worker, "echo") == {}


# The rest is about how it ends.

def assert_dead(worker, pid, message):
    """Every later request fails in the same words, and nothing is left of the process."""
    for _ in range(3):
        with pytest.raises(WorkerError) as raised:
            call(worker, "echo", 2 * PATIENCE)  # which a request that waits for its deadline takes
        assert str(raised.value) == message
    assert not Path(f"/proc/{pid}").exists()


ENDS = {
    "killed": ("last_words_and_death", {"number": signal.SIGKILL},
               "was killed by signal 9 (SIGKILL); if memory ran out, `dmesg` says so; its last output:\n"
               "  so long"),
    "crashed": ("last_words_and_death", {"number": signal.SIGABRT},
                "was killed by signal 6 (SIGABRT); its last output:\n  so long"),
    "left": ("last_words_and_exit", {"status": 3}, "ended with exit status 3; its last output:\n  so long"),
    "hung": ("last_words_and_silence", {}, "gave no response within 0.5 s and was killed; its last output:\n  so long"),
}


@pytest.mark.parametrize("job, arguments, message", ENDS.values(), ids=ENDS)
def test_an_end_is_told_with_its_reason_and_the_last_words(worker, job, arguments, message):
    pid = pid_of(worker)
    with pytest.raises(WorkerError) as raised:
        call(worker, job, 0.5 if job.endswith("silence") else 30, words="first\n\nso long", **arguments)
    expected = f"{sys.executable}: its process {message}".replace("so long", "first\n  so long")
    assert str(raised.value) == expected
    assert_dead(worker, pid, expected)


def test_notices_of_tensorflow_do_not_hide_the_last_words(worker):
    notices = ["WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
               "I0000 00:00:1795496691.898798   15589 port.cc:153] oneDNN custom operations are on.",
               "E0000 00:00:1795496691.9 6612 util.cc:131] oneDNN supports DT_UINT8 only on platforms with AVX-512.",
               "2026-11-24 05:03:11.123456: I tensorflow/core/platform/cpu_feature_guard.cc:142] Your CPU supports"]
    with pytest.raises(WorkerError, match=r"its last output:\n  E0000 the cause$"):
        call(worker, "last_words_and_exit", words="\n".join(["E0000 the cause", *notices * 5]), status=1)
    assert len(worker.output()) == 21


def test_a_stopped_process_is_killed_at_the_deadline(worker):
    pid = pid_of(worker)
    with pytest.raises(WorkerError, match=r"gave no response within 0\.5 s and was killed; it printed") as raised:
        call(worker, "stop", 0.5)
    assert_dead(worker, pid, str(raised.value))


def test_death_between_two_requests_is_noticed_at_the_next(worker):
    os.kill(pid_of(worker), signal.SIGTERM)
    with pytest.raises(WorkerError, match=r"was killed by signal 15 \(SIGTERM\); it printed nothing"):
        call(worker, "echo")


def test_whoever_waits_fails_with_the_first_reason(worker):
    """One request hangs, three wait for their turn, four of another kind for their response."""
    def outcome(ask):
        with pytest.raises(WorkerError) as raised:
            ask()
        return str(raised.value)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(outcome, lambda: call(worker, "last_words_and_silence", 1, words="stuck"))
        time.sleep(0.2)
        stop_for_good(worker.pid)
        waiting = [pool.submit(outcome, lambda: call(worker, "echo")) for _ in range(3)]
        waiting += [pool.submit(outcome, lambda: worker.ask("detect", [b"x"], 30)) for _ in range(4)]
        assert {one.result(PATIENCE) for one in waiting} == {first.result(PATIENCE)}
    assert "gave no response within 1 s" in first.result(PATIENCE)


NONSENSE = {
    "garbage": ("write_on_sockets", b"Hello, world!", "sent an invalid response: it starts with b'Hell', must"),
    "garbage, then silence": ("write_on_sockets_and_silence", b"Hello, world!", "sent an invalid response: it start"),
    "endless header": ("write_on_sockets", PREFIX.pack(MAGIC, 2**32 - 1), "an invalid response: its header has 4,294,"),
    "another's response": ("write_on_sockets", b"".join(frame({"id": 999})), "it belongs to request 999, not to "),
    "a response without a number": ("write_on_sockets", b"".join(frame({})), "it belongs to request None, not to "),
    "half a response, then death": ("write_on_sockets_and_die", PREFIX.pack(MAGIC, 99), "ended with exit status 0"),
    "half a response, then silence": ("write_on_sockets_and_silence", MAGIC, r"gave no response within 0\.5 s"),
}


@pytest.mark.parametrize("job, content, message", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_between_the_answers_is_an_error_and_the_end(worker, job, content, message):
    pid = pid_of(worker)
    with pytest.raises(WorkerError, match=message) as raised:
        call(worker, job, 0.5 if job.endswith("silence") else 30, text=content.hex())
    assert_dead(worker, pid, str(raised.value))


# Responses of every shape. The call is request 2: "hello" was 0 and the question for the process number 1.

ERROR = {"type": "ValueError", "message": "no", "traceback": "…"}
MALFORMED = {
    "a text for the error": ({"error": "x"}, "its response has the invalid error 'x'"),
    "nothing for the error": ({"error": None}, "its response has the invalid error None"),
    "a list for the error": ({"error": [1]}, r"its response has the invalid error \[1\]"),
    "an error that lacks its type": ({"error": {"message": "no", "traceback": ""}}, "its error has no type"),
    "an error of numbers": ({"error": {**ERROR, "message": 5}}, "its error has the invalid message 5"),
    "an error with more": ({"error": {**ERROR, "who": "me"}}, "its error has the unknown field 'who'"),
    "an error and a result": ({"error": ERROR, "result": 1}, "its response has the unknown field 'result'"),
    "no result": ({}, "its response to call has no result"),
    "more than the result": ({"result": 1, "python": "3"}, "its response to call has the unknown field 'python'"),
    "the response to another kind": ({"arrays": [], "errors": []}, "its response to call has no result"),
    "true for its number": ({"id": True, "result": 1}, "it belongs to request True, not to 2"),
    "a fraction for its number": ({"id": 2.0, "result": 1}, "it belongs to request 2.0, not to 2"),
    "an endless text for its number": ({"id": "x" * 10**6, "result": 1}, "it belongs to request 'xxxxxxx"),
    "buffers that nothing describes": (({"result": 1}, [b"12"]), "it has 1 buffers, must have 0"),
    "sizes that are an object": ({"result": 1, "sizes": {}}, "its header is invalid"),
    "sizes below 0": ({"result": 1, "sizes": [-1]}, "its header is invalid"),
    "sizes beyond all": ({"result": 1, "sizes": [2**62]}, "its header is invalid"),
    "true for a size": ({"result": 1, "sizes": [True]}, "its header is invalid"),
    "NaN for a result": ({"result": float("nan")}, "its header is invalid"),
    "a list for a header": ([1, 2], "its header is invalid"),
    "a number for a header": (5, "its header is invalid"),
}


def raw_frame(header, buffers=()) -> bytes:
    """A frame, whatever the header is."""
    if isinstance(header, dict):
        header = {"id": 2, "sizes": [len(one) for one in buffers], **header}
    text = json.dumps(header).encode()
    return PREFIX.pack(MAGIC, len(text)) + text + b"".join(buffers)


@pytest.mark.parametrize("response, message", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_response_is_an_error_and_the_end_of_the_process(worker, response, message):
    content = raw_frame(*response) if isinstance(response, tuple) else raw_frame(response)
    pid = pid_of(worker)
    with pytest.raises(WorkerError, match=f"{sys.executable}: its process sent an invalid response: {message}"
                       ) as raised:
        call(worker, "write_on_sockets_and_silence", 30, text=content.hex())
    assert not isinstance(raised.value, RemoteError) and len(str(raised.value)) < 400
    assert_dead(worker, pid, str(raised.value))


def test_hundreds_of_odd_responses_are_believed_or_named():
    """Values of every kind in every place of every kind of response."""
    rng = random.Random(3)
    values = (None, True, -1, 0, 2, 1.5, 10**30, "", "<f4", "x", [], {}, [1], ["<f4", [2]], ERROR)
    sound = {
        "hello": {"python": "3.7"}, "call": {"result": 1}, "fallback": {"fallback": ""}, "layers": {"layers": ["a"]},
        "load": {"metadata": {}, "versions": {"numpy": "1"}, "import_seconds": 1.0, "load_seconds": 2},
        "detect": {"errors": [""], "arrays": [["<f4", [0, 4]], ["<f4", [0]], ["<i4", [0]]]},
        "outputs": {"arrays": [["<f4", [1]]]},
    }
    for _ in range(3000):
        kind = rng.choice(list(sound))
        header = {"id": 7, **copy.deepcopy(sound[kind])}
        place = rng.choice(list(header))
        inner = header[place] if isinstance(header[place], list) and header[place] and rng.random() < 0.7 else None
        if inner is None:
            header[place] = rng.choice(values)
        else:
            inner[rng.randrange(len(inner))] = rng.choice(values)
        buffers = [rng.choice([b"", b"1234"]) for _ in range(rng.randrange(5))]
        try:
            responses.check(kind, 7, header, buffers)
            if kind == "detect":
                found = responses.detections(header, buffers, 1)
                assert [array.dtype.name for array in found[0][:3]] == ["float32", "float32", "int32"]
            elif "arrays" in header:
                responses.arrays(header, buffers)
        except FrameError as error:
            assert len(str(error)) < 300


def test_a_malformed_response_ends_what_the_process_has_started_even_in_groups_of_its_own(worker, tmp_path):
    path = tmp_path / "pid"
    with pytest.raises(WorkerError, match="sent an invalid response"):
        call(worker, "child_of_its_own_and_nonsense", path=str(path), text=b"Hello, world!".hex())
    assert gone(int(path.read_text()))


@pytest.mark.parametrize(("printed", "step"), [
    ("python3: tpb_eng_init: Assertion failed.", "the runtime and the chip are of different generations"),
    ("NRT: NeuronCore(s) not available - Requested:4 Available:0", "a core belongs to one process"),
    ("all is well", ""),
])
def test_what_the_neuron_runtime_printed_before_its_process_died_is_explained(printed, step):
    with Worker(sys.executable) as worker, pytest.raises(WorkerError) as raised:
        worker.call("os:system", command=f"echo '{printed}'; kill -ABRT $PPID; sleep 1")
    assert f"was killed by signal 6 (SIGABRT); {printed + '; ' + step if step else 'its last'}" in str(raised.value)


def test_an_exception_that_cannot_be_printed_and_one_without_end_come_back(lasting):
    with pytest.raises(RemoteError, match=r"Unprintable: its message cannot be read \(RuntimeError\)"):
        call(lasting, "fail_without_words")
    with pytest.raises(RemoteError) as raised:
        call(lasting, "fail_at_length", length=30_000_000)
    assert len(raised.value.message) == 100_000 and call(lasting, "echo") == {}


def test_an_interrupted_request_leaves_no_answer_for_the_next(worker):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            call(worker, "last_words_and_silence", words="")
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(WorkerError, match="was interrupted by a KeyboardInterrupt and killed"):
        call(worker, "echo")


def test_what_a_job_has_started_ends_with_a_missed_deadline(worker, tmp_path):
    with pytest.raises(WorkerError, match="gave no response"):
        call(worker, "child_and_silence", 2, path=str(tmp_path / "pid"), seconds=60)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_program_left_behind_does_not_hide_a_death(worker):
    with pytest.raises(WorkerError, match="ended with exit status 5"):
        call(worker, "background_and_death", 20)


def test_closing_ends_process_and_children_and_may_be_repeated(worker):
    pids = [pid_of(worker), call(worker, "child", seconds=60)]
    worker.close()
    worker.close()
    assert all(map(gone, pids))
    with pytest.raises(WorkerError, match="its process was closed before this request"):
        call(worker, "echo")


def test_closing_lets_the_process_end_by_itself(worker):
    worker.close()
    assert worker._process.returncode == 0


def test_closing_a_hung_process_frees_its_caller(worker):
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(call, worker, "last_words_and_silence", None, words="")
        time.sleep(0.3)
        worker.close()
        with pytest.raises(WorkerError, match="was closed"):
            hung.result(PATIENCE)


def test_a_closed_process_that_is_stopped_is_killed(worker, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.2)
    pid = pid_of(worker)
    os.kill(pid, signal.SIGSTOP)
    worker.close()
    assert gone(pid)


ORPHANS = """
import os, signal, sys, threading, time
from model.worker.client import Worker
worker = Worker(sys.executable)
print(worker.call("os:getpid"), flush=True)
threading.Thread(target=worker.call, args=({job!r},), kwargs={arguments!r}, daemon=True).start()
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("job", ["nothing", "last_words_and_silence", "child_and_silence"])
def test_a_killed_parent_leaves_nothing_behind(job, tmp_path):
    arguments = {"nothing": {}, "last_words_and_silence": {"words": ""},
                 "child_and_silence": {"path": str(tmp_path / "pid"), "seconds": 60}}[job]
    code = ORPHANS.format(job=f"{JOBS}:{job}" if job != "nothing" else "os:getpid", arguments=arguments)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    pids = [int(ended.stdout), *map(int, filter(None, [(tmp_path / "pid").read_text()]
                                            if (tmp_path / "pid").exists() else []))]
    assert ended.returncode == -signal.SIGKILL and all(map(gone, pids)), ended.stderr


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_twenty_processes_leave_no_descriptor_thread_or_zombie():
    Worker(sys.executable).close()
    before, pids = (descriptors(), threading.active_count()), []
    for number in range(20):
        with Worker(sys.executable) as worker, suppress(WorkerError):
            pids.append(pid_of(worker))
            if number % 2:
                call(worker, "last_words_and_exit", words="", status=0)
    assert (descriptors(), threading.active_count()) == before
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_starts_that_fail_leave_no_descriptor_or_thread():
    before = descriptors(), threading.active_count()
    for _ in range(5):
        for python in ("/bin/true", "/nowhere/python", "/"):
            with pytest.raises(WorkerError):
                Worker(python)
    assert (descriptors(), threading.active_count()) == before


def script(path, text) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


AT_START = r"at its start \(is it a Python 3\.7 or newer\?\)"
NO_PYTHONS = {
    "nothing there": (None, r"cannot be started \(No such file or directory\); give a Python 3\.7 or newer"),
    "a text file": ("text", r"cannot be started \(Exec format error\); give a Python 3\.7 or newer"),
    "no such shell": ("#!/nowhere/sh\n", r"cannot be started \(No such file or directory\)"),
    "true": ("#!/bin/sh\nexit 0\n", f"ended with exit status 0 {AT_START}; it printed nothing"),
    "an error": ("#!/bin/sh\necho libpython is missing\nexit 127\n",
                 f"ended with exit status 127 {AT_START}; its last output:\n  libpython is missing"),
}


@pytest.mark.parametrize("text, message", NO_PYTHONS.values(), ids=NO_PYTHONS)
def test_what_is_no_python_is_told_apart(tmp_path, text, message):
    path = tmp_path / "python"
    if text:
        script(path, text)
    with pytest.raises(WorkerError, match=message) as raised:
        Worker(path, startup=30)
    assert str(raised.value).startswith(f"{path}: ")


SILENT = {
    "silent": ("sleep 60", "; it printed nothing"),
    "talkative": ("yes all work and no play", ":\n(  all work and no play\n){9}  all work"),
    "one endless line": ("cat /dev/zero", "; it printed nothing"),
}


@pytest.mark.parametrize("program, words", SILENT.values(), ids=SILENT)
def test_what_does_not_answer_has_a_deadline_to_start(tmp_path, program, words):
    path = script(tmp_path / "python", f"#!/bin/sh\nexec {program}\n")
    with pytest.raises(WorkerError, match=rf"gave no response within 0\.5 s and was killed {AT_START}.*{words}"):
        Worker(path, startup=0.5)


def test_a_file_that_may_not_be_executed_and_a_folder_are_refused(tmp_path):
    (tmp_path / "python").write_text("")
    for path in (tmp_path / "python", tmp_path):
        with pytest.raises(WorkerError, match=r"cannot be started \(Permission denied\)"):
            Worker(path)


def test_a_python_that_is_too_old_says_so(monkeypatch):
    monkeypatch.setattr(process, "OLDEST", (9, 1))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(WorkerError, match=rf"this is Python {version}, must be 9\.1 or newer"):
        Worker(sys.executable)


OLD = [(version, python) for version in ("2.7", "3.6") for python in pythons(version)]


@pytest.mark.skipif(not OLD, reason="there is no older Python here: install python2.7 or python3.6")
@pytest.mark.parametrize("version, python", OLD)
def test_pythons_that_are_too_old_can_say_so_themselves(version, python):
    with pytest.raises(WorkerError, match=f"this is Python {version}, must be 3.7 or newer"):
        Worker(python)


def test_a_wrapper_script_may_stand_for_the_interpreter(tmp_path):
    wrapper = script(tmp_path / "python", f'#!/bin/sh\nNEURON_PROCESS_TAG=wrapped "{sys.executable}" "$@"\n')
    with Worker(wrapper) as worker:
        assert worker.call("os:getenv", key="NEURON_PROCESS_TAG") == "wrapped"
        pid = pid_of(worker)
    assert gone(pid)
