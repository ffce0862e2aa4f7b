"""Explains errors of the Neuron runtime, which it takes out of TensorFlow's messages and the process's output.

Runs on Python 3.7. Sources: aws-neuron-tensorflow, runtime/direct/adaptor.cc (the texts); SDK docs, pages "NRT API"
(the status codes) and "Neuron Runtime troubleshooting on Inf1"; aws-neuron-sdk's issues, by number.
"""
from __future__ import annotations

import re

DOCTOR = "run `python -m model doctor`"
ONE_PROCESS = ("a core belongs to one process (#441, #453, #468): end the others, or give each its own by "
               "NEURON_RT_VISIBLE_CORES, so that workers × cores are at most the machine's")
MEANINGS = {
    r"NeuronCore\(s\) not available": ONE_PROCESS,
    r"tpb_eng_init|Architecture not found|tdrv_get_number_devices": "the runtime and the chip are of different "
                        f"generations: this one is for Inf1 (#795, #1071); {DOCTOR}, which names both",
    r"not compatible with the installed aws-neuron": f"driver and runtime do not fit each other (#655); {DOCTOR}",
    r"Unable to determine Neuron Driver version|requires Neuron Driver version": "the driver is missing or too old; "
                        f"{DOCTOR}, which says how to install it",
    r"No neuron device available|Could not open the nd\d": "the process sees no device: the driver is not loaded, or "
                        f"the container was started without --device=/dev/neuron0 (#482, #633); {DOCTOR}",
    r"check /dev/neuron\S* is accessible": f"this user may not open the device (#415); {DOCTOR}",
    r"mc_alloc: device mempool": "the device's memory is full; load fewer models in a process, because it is given "
                                 "back only when the process ends (#625)",
    r"[Ii]nconsistent (client |NEFF )?batch sizes": "the inputs of a call have different batch sizes (#405, #613, "
                        "#681); send batches of one size, or compile with dynamic batch size as this project does",
    r"Could not find VNC": "NEURON_RT_VISIBLE_CORES names a core that is not there; a list such as 0,2 needs runtime "
                           "2.16.18 or newer, older ones only take a range such as 0-3",
    r"Framework already registered": "tensorflow.neuron was imported twice in the process (#351); restart it",
    r"Nrt::Init failed": f"no Neuron device responds, or another process holds its cores; {DOCTOR}, which explains "
                         "what is missing",
    r"GetCoreCount": f"the runtime cannot count the cores, so no device responds; {DOCTOR}",
    r"Nrt::Load failed": "the model was not loaded on these cores and would run on fewer; restart the detector",
    r"Not enough runtime resource": "the device has too little memory or too few free cores for the model; end other "
                                    "processes on it, and load each further model in a process of its own (#625)",
    r"NEFF is invalid": "the compiled program is damaged or does not fit the runtime's version; compile the model "
                        "again",
    r"called without executables": "the model is on no core, because an earlier load failed; look at that error",
    r"Execute failed|\bnrt_\w+: status=": "the device failed while it ran the model; look at `sudo dmesg | grep -i "
                                          "neuron`",
}
STATUS = {
    1: "FAILURE", 2: "INVALID", 3: "INVALID_HANDLE", 4: "RESOURCE", 5: "TIMEOUT", 6: "HW_ERROR", 7: "QUEUE_FULL",
    9: "LOAD_NOT_ENOUGH_NC", 10: "UNSUPPORTED_NEFF_VERSION", 11: "FAIL_HOST_MEM_ALLOC", 13: "UNINITIALIZED",
    14: "CLOSED", 1002: "BAD_INPUT", 1004: "COMPLETED_WITH_ERR", 1005: "NC_BUSY", 1006: "OOB",
}
# Codes that say more than the words beside them.
MEANING_OF_STATUS = {
    4: "the device has no memory left for the model; end other processes on it, and load each further model in a "
       "process of its own (#625)",
    5: "the device did not finish in time; look at `sudo dmesg | grep -i neuron`",
    9: f"the model needs more cores than are free; {ONE_PROCESS}",
    10: "the program was compiled by a neuron-cc that is newer than the runtime; install the versions that `python "
        "-m model doctor --detector-python PATH` names and compile again",
    11: "the host has too little memory to load the model; use a larger instance or fewer --workers",
    1002: "the input has another shape or type than the model was compiled for; compile it again",
    1004: "framework and runtime do not fit each other, or the device failed (#351, #429); install the versions that "
          "`python -m model doctor --detector-python PATH` names",
    1005: ONE_PROCESS,
}


class DeviceError(RuntimeError):
    """A call failed in the device or its runtime; the message quotes and explains the error."""


def explained(message: str) -> str:
    """The runtime's error in a message of TensorFlow or in its own output, with an explanation; '' if there is none."""
    for words, meaning in MEANINGS.items():
        for line in message.splitlines():
            if re.search(words, line):
                status = re.search("status=([0-9]+)", line)
                meaning = MEANING_OF_STATUS.get(int(status[1]), meaning) if status else meaning
                return f"{re.sub('status=([0-9]+)', _named, line.strip())}; {meaning}"
    return ""


def _named(status) -> str:
    return f"{status[0]} ({STATUS[int(status[1])]})" if int(status[1]) in STATUS else status[0]
