"""What the Neuron runtime says when a call of a compiled model fails, taken out of TensorFlow's message and explained.

Runs on Python 3.7. Sources: aws-neuron-tensorflow, runtime/direct/adaptor.cc (the texts); SDK docs, page "NRT API"
(the status codes).
"""
from __future__ import annotations

import re

MEANINGS = {
    "Nrt::Init failed": "no Neuron device answers, or another process holds its cores: `python -m model doctor` says "
                        "what is missing",
    "Nrt::Load failed": "the model was not loaded on these cores, and later calls would run on fewer",
    "Not enough runtime resource": "the device lacks memory or free cores for the model: other processes hold them",
    "NEFF is invalid": "the compiled program is damaged or of another compiler than the runtime's: compile anew",
    "called without executables": "the model is on no core: an earlier load has failed",
    "Execute failed": "the device failed while it ran the model",
}
STATUS = {
    1: "FAILURE", 2: "INVALID", 3: "INVALID_HANDLE", 4: "RESOURCE", 5: "TIMEOUT", 6: "HW_ERROR", 7: "QUEUE_FULL",
    9: "LOAD_NOT_ENOUGH_NC", 10: "UNSUPPORTED_NEFF_VERSION", 11: "FAIL_HOST_MEM_ALLOC", 13: "UNINITIALIZED",
    14: "CLOSED", 1002: "BAD_INPUT", 1004: "COMPLETED_WITH_ERR", 1005: "NC_BUSY", 1006: "OOB",
}


class DeviceError(RuntimeError):
    """The device, or the runtime in front of it, failed a call; the message has its words and what they mean."""


def explained(message: str) -> str:
    """The runtime's words in a message of TensorFlow and what they mean; '' if they are not its."""
    for line in message.splitlines():
        for words, meaning in MEANINGS.items():
            if words in line:
                return f"{re.sub('status=([0-9]+)', _named, line.strip())}; {meaning}"
    return ""


def _named(status) -> str:
    return f"{status[0]} ({STATUS[int(status[1])]})" if int(status[1]) in STATUS else status[0]
