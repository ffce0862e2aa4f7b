"""Explains errors of the Neuron runtime, which it takes out of TensorFlow's messages.

Runs on Python 3.7. Sources: aws-neuron-tensorflow, runtime/direct/adaptor.cc (the texts); SDK docs, page "NRT API"
(the status codes).
"""
from __future__ import annotations

import re

MEANINGS = {
    "Nrt::Init failed": "no Neuron device responds, or another process holds its cores; run `python -m model doctor`, "
                        "which explains what is missing",
    "Nrt::Load failed": "the model was not loaded on these cores and would run on fewer; restart the detector",
    "Not enough runtime resource": "the device has too little memory or too few free cores for the model; end other "
                                   "processes on it",
    "NEFF is invalid": "the compiled program is damaged or does not fit the runtime's version; compile the model again",
    "called without executables": "the model is on no core, because an earlier load failed; look at that error",
    "Execute failed": "the device failed while it ran the model; look at `sudo dmesg | grep -i neuron`",
}
STATUS = {
    1: "FAILURE", 2: "INVALID", 3: "INVALID_HANDLE", 4: "RESOURCE", 5: "TIMEOUT", 6: "HW_ERROR", 7: "QUEUE_FULL",
    9: "LOAD_NOT_ENOUGH_NC", 10: "UNSUPPORTED_NEFF_VERSION", 11: "FAIL_HOST_MEM_ALLOC", 13: "UNINITIALIZED",
    14: "CLOSED", 1002: "BAD_INPUT", 1004: "COMPLETED_WITH_ERR", 1005: "NC_BUSY", 1006: "OOB",
}


class DeviceError(RuntimeError):
    """A call failed in the device or its runtime; the message quotes and explains the error."""


def explained(message: str) -> str:
    """The runtime's error in a message of TensorFlow, with an explanation; '' if there is none."""
    for line in message.splitlines():
        for words, meaning in MEANINGS.items():
            if words in line:
                return f"{re.sub('status=([0-9]+)', _named, line.strip())}; {meaning}"
    return ""


def _named(status) -> str:
    return f"{status[0]} ({STATUS[int(status[1])]})" if int(status[1]) in STATUS else status[0]
