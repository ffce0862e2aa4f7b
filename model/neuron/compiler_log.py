"""The reason in what neuron-cc and tensorflow-neuron print: one sentence, and the next step where it is known.

Runs on Python 3.7. Sources: aws-neuron-tensorflow, python/{graph_util,neuron_cc,neuron_cc_hlo}.py (the texts and the
names of the log files); aws-neuron-sdk's issues, by number.
"""
from __future__ import annotations

import re
from pathlib import Path

IN_MODEL = Path("assets.extra", "compiler.log")  # in the compiled SavedModel, so that a cached model keeps it
LONGEST_LOG = 1 << 20  # characters of all log files together
LONGEST_REASON = 300  # characters
LAST_LINES = 10  # of the log in an error message
INSTALL = "run `python -m model doctor --detector-python PATH`, which says how to install it"
LARGER_MACHINE = ("compile on a machine with 32 GiB or more, such as c5.4xlarge; it needs no Inferentia, and a URL as "
                  "--cache-dir brings the model back")

# What every line of the compiler and of TensorFlow's log may start with.
PREFIX = re.compile(r"^(WARNING|ERROR|INFO):\w+:|^\d\d/\d\d/\d{4} \d\d:\d\d:\d\d [AP]M [A-Z]+( \d+)? \[[\w-]+\]:")
# Lines of TensorFlow that explain nothing, the compiler's progress, and its request to write to AWS.
NOISE = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+: [IWE] |[IWE]\d{4} |All log messages before absl|Compiler status |== |"
                   r"Please contact |neuron-cc (error message|failed with):$|An Internal Compiler Error has occurred|"
                   r"Internal details:|File \"|Traceback |Converted .* operators? will be running")
FAILED = re.compile(r"Failed to fuse subgraph|neuron-cc failed with|Not fusing subgraph|failed to compile|has "
                    r"undetermined shape|Cannot infer output tensor shapes|neuron-cc is not (found|behaving correctly)")

# Words of a failed compilation (a regular expression), and the next step.
SYMPTOMS = (
    (r"BrokenProcessPool|process pool was terminated|bad_alloc|MemoryError|Cannot allocate memory|\bKilled\b"
     r"|SIGKILL|status \(?-?(9|137)\b", f"the compiler had too little memory (#287, #434); {LARGER_MACHINE}"),
    (r"No space left on device", "the disk is full; make room under $TMPDIR and in --cache-dir"),
    (r"gave no response within|TimeoutExpired|timed out after",
     f"the compiler took too long (#352, #459, #730); {LARGER_MACHINE}"),
    (r"WRONG PACKAGE|neuron-cc is not found|neuron-cc is not behaving|No module named '?(neuroncc|tensorflow_neuron)",
     INSTALL),
    (r"undefined symbol|GLIBCXX|cannot open shared object",
     "another package has replaced files of Neuron's (#73, #328); install requirements-neuron-tf115.txt or "
     "requirements-neuron-tf210.txt into a new environment"),
    (r"neuroncore-pipeline-cores", "the compiler cannot divide this network among cores (#270, #291, #618); "
     "compile it for one core, as this project does by itself"),
    (r"batch_size is not sufficient|[Ii]nconsistent .*batch size|undetermined shape|Cannot infer output",
     "a tensor's shape is unknown before the model runs (#54, #60, #405); build the model by `python -m model "
     "build`, which leaves only the batch open"),
    (r"without accelerator or cpu compute ops", "nothing in the network depends on its input (#422); look at "
     "the model with `python -m model plan`"),
    (r"unrecognized arguments|invalid choice", "this neuron-cc does not know a flag of the project; install the "
     "version that `python -m model doctor --detector-python PATH` names"),
    (r"StatefulPartitionedCall", "TensorFlow 1.15 cannot compile a SavedModel of TensorFlow 2 (#191); build "
     "it by `python -m model build`"),
    (r"\b2 ?GB\b|extract-weights", "the frozen network is larger than 2 GB (#357, #424); use a smaller one"),
    (r"CompilerInternalError|Internal ?Compiler ?Error|internal tensorizer error|AssertionError",
     "a fault of the compiler; try another --cast, or report it to AWS with the log"),
)


def is_failure(warning: str) -> bool:
    """Whether a warning of tensorflow-neuron reports that a part of the model was not compiled."""
    return FAILED.search(warning) is not None


def reason(*texts: str) -> str:
    """The reason in the first of the texts that has one, as a sentence with the next step; '' if none has."""
    for text in texts:
        found = _sentence(text)
        if found:
            return "; ".join(filter(None, [found, next_step(text)]))
    return ""


def _sentence(text: str) -> str:
    """The line that says most: the error message or class that the compiler names, else the last that says error."""
    lines = _lines(text)
    named = [line[len(label):].strip() for label in ("Error message:", "Error class:")
             for line in lines if line.startswith(label)]
    errors = [line for line in lines if re.search(r"error|exception|failed|not found|killed", line, re.IGNORECASE)]
    return next(filter(None, [*named, *errors[-1:], *lines[:1]]), "")[:LONGEST_REASON]


def next_step(text: str) -> str:
    """What to do about a failed compilation that printed this; '' if that is not known."""
    return next((step for words, step in SYMPTOMS if re.search(words, text)), "")


def _lines(text: str) -> list:
    """The lines that say something: without prefixes, banners, dots of progress and notices of TensorFlow."""
    found = (PREFIX.sub("", line.strip()).strip() for line in text.splitlines())
    return [line for line in found if re.search(r"\w", line) and not NOISE.match(line)]


def summary(warnings) -> str:
    """What the warnings of a compilation say, in one sentence; '' if there is none.

    tensorflow-neuron logs a banner line by line, so that the first warning may be a row of asterisks.
    """
    failures = [warning for warning in warnings if is_failure(warning)]
    return reason(*failures, *warnings)


def read(folder) -> str:
    """The compiler's log files below its working folder, each under its name; '' if there is none."""
    paths = sorted(path for path in Path(folder).rglob("*")
                   if path.is_file() and (path.suffix == ".log" or "stderr" in path.name))
    texts = [f"== {path.relative_to(folder)}\n{path.read_text(errors='replace').strip()}\n" for path in paths]
    return "".join(texts)[-LONGEST_LOG:]


def kept_in(compiled) -> str:
    """The log of a compiled SavedModel's compilation; '' if it has none."""
    path = Path(compiled, IN_MODEL)
    return path.read_text(errors="replace") if path.is_file() else ""


def last_lines(log: str) -> str:
    """The end of a log for an error message."""
    return "\n".join(f"  {line[:LONGEST_REASON]}" for line in _lines(log)[-LAST_LINES:])
