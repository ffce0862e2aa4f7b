"""The reason in what neuron-cc prints: one sentence with the next step, whatever stands around it."""
from __future__ import annotations

import pytest

from model.neuron.compiler_log import is_failure, read, reason, summary
from tests.model.neuron.double.texts import BANNER, crash

OOM = "A process in the process pool was terminated abruptly while the future was running or pending."
TF2 = ("neuron-cc failed with:\n2023-01-03 13:12:04.273542: I "
       "tensorflow/stream_executor/cuda/cuda_gpu_executor.cc:936] "
       "successful NUMA node read\n")

# What is printed → how the sentence starts, and a part of the next step.
PRINTED = {
    "memory (287)": (crash(OOM, "BrokenProcessPool"), OOM, "32 GiB"),
    "memory in the warning of TensorFlow 2": (TF2 + crash(OOM, "BrokenProcessPool"), OOM, "c5.4xlarge"),
    "memory (434)": ("terminate called after throwing an instance of 'std::bad_alloc'", "terminate called", "32 GiB"),
    "a killed compiler": (crash("Non-zero exit status (-9) for command: walrus", "CompilerInternalError"),
                          "Non-zero exit status (-9)", "32 GiB"),
    "a full disk": ("OSError: [Errno 28] No space left on device: '/tmp/x'", "OSError: [Errno 28]", "make room"),
    "a crash": (crash("Non-zero exit status (134) for command: list_sch", "CompilerInternalError"),
                "Non-zero exit status (134)", "another --cast"),
    "a crash without a message (619)": (crash("", "AssertionError"), "AssertionError", "a fault of the compiler"),
    "nothing to compile (422)": (crash("ERROR: NEFF archive without accelerator or cpu compute ops is not supported.",
                                       "AssertionError"), "ERROR: NEFF archive", "python -m model plan"),
    "pipeline (270, 291, 618)": ("The requested number of neuroncore-pipeline-cores (4) may not be suitable for this "
                                 "network", "The requested number", "for one core"),
    "overwritten (73, 328)": ("ImportError: libwalrus.so: undefined symbol: _ZNK3bir3Hwm", "ImportError: libwalrus.so",
                              "into a new environment"),
    "PyPI's placeholder (916)": ("ImportError: WRONG PACKAGE. Please install the package from Neuron Repository",
                                 "ImportError: WRONG PACKAGE", "python -m model doctor"),
    "the banner": ("\n".join(BANNER), "neuron-cc is not found.", "python -m model doctor"),
    "a batch (60, 405)": ("ValueError: batch_size is not sufficient to determine the shape", "ValueError: batch_size",
                          "python -m model build"),
    "a subgraph without shapes": ("Not fusing subgraph x: --io-config error\nsubgraph x input tensor y has "
                                  "undetermined shape", "Not fusing", "python -m model build"),
    "a SavedModel of TensorFlow 2 (191)": ("NotImplementedError: StatefulPartitionedCall", "NotImplementedError",
                                           "(#191)"),
    "an unknown flag": ("usage: neuron-cc\nneuron-cc: error: unrecognized arguments: --x", "neuron-cc: error: unrec",
                        "python -m model doctor"),
    "a time limit (730)": ("subprocess.TimeoutExpired: timed out after 18000 seconds", "subprocess.Timeout",
    "took too"),
}


@pytest.mark.parametrize(("text", "start", "step"), PRINTED.values(), ids=PRINTED)
def test_the_reason_is_one_sentence_with_the_next_step(text, start, step):
    said = reason(text)
    assert said.startswith(start) and step in said and "\n" not in said and "****" not in said


@pytest.mark.parametrize("text", ["", "....\nCompiler status ERROR\n", "*" * 60 + "\n\n" + "*" * 60, "\x1b[0m\n..."])
def test_where_nothing_is_said_there_is_no_reason(text):
    assert reason(text) in ("", "\x1b[0m") and summary([text]) == reason(text)


def test_the_reason_of_a_failure_comes_before_other_warnings():
    warnings = ["*" * 63, "From x: calling y is deprecated.", "Failed to fuse subgraph x with 'neuron-cc compile'"]
    assert summary(warnings) == "Failed to fuse subgraph x with 'neuron-cc compile'"
    assert summary(BANNER).startswith("neuron-cc is not found.; run `python -m model doctor") and summary([]) == ""


@pytest.mark.parametrize(("warning", "failed"), [
    ("Failed to fuse subgraph neuron_op_1 with 'neuron-cc compile'", True), ("neuron-cc failed with:\nx", True),
    ("Not fusing subgraph x: --io-config error", True), ("  neuron-cc is not found.", True),
    ("Cannot infer output tensor shapes for subgraph x", True), ("From x: calling y is deprecated.", False),
    ("There are 7 ops of 3 different types in the graph that are not compiled by neuron-cc", False),
])
def test_a_compiler_that_failed_is_told_from_what_was_never_given_to_it(warning, failed):
    assert is_failure(warning) == failed


def test_the_log_files_of_every_subgraph_are_read_each_under_its_name(tmp_path):
    for name, file in (("op_1", "graph_def.neuron-cc.log"), ("op_2", "neuron-cc-stderr.txt"), ("op_3",
                       "graph_def.neff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"said \xff by " + name.encode())
    log = read(tmp_path)
    assert log.splitlines()[0] == "== op_1/graph_def.neuron-cc.log" and "by op_2" in log and "op_3" not in log
    assert read(tmp_path / "nowhere") == ""
