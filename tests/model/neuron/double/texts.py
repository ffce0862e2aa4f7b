"""What tensorflow-neuron and neuron-cc print when a compilation fails, in the form of AWS's own issues."""
from __future__ import annotations

# tensorflow-neuron 1.15 logs it line by line.
STARS = "*" * 63
BANNER = (STARS, "", "  neuron-cc is not found.", "", "  To fully optimize TensorFlow model with AWS Neuron, "
                                                      "please", "",
          '  install the neuron-cc compiler by "pip install neuron-cc".', "", STARS)
PASSED = "..........\nCompiler status PASS\n"


def crash(message, kind) -> str:
    """The log of a compiler that crashed."""
    lines = (STARS, " An Internal Compiler Error has occurred", STARS, "", "Please contact Customer Support and "
             "provide the following details.", "", f"Error message:  {message}", "", f"Error class:    {kind}",
             "Error location: job.Scheduler.3", "Command line:   /neuron/bin/neuron-cc compile graph_def.pb "
                                                "--verbose 35",
             "", "Internal details:", '  File "neuroncc/driver/Job.py", line 289, in neuroncc.driver.Job.run', "",
             "Version information:", "  NumPy 1.18.2", "Artifacts stored in: artifacts/neuron_op_0")
    return "....\nCompiler status ERROR\n" + "".join(
        f"11/25/2026 01:12:05 PM ERROR 29231 [neuron-cc]: {line}\n" for line in lines)


INTERNAL_ERROR = crash("Non-zero exit status (134) for command: list_sch --hhir hh.json", "CompilerInternalError")
LOGGED = {
    "compiler error": INTERNAL_ERROR,
    "out of memory": crash("A process in the process pool was terminated abruptly while the future was running or "
                            "pending.", "BrokenProcessPool"),
}
