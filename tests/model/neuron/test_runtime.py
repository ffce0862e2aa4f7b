"""The Neuron runtime's words, found in what TensorFlow makes of them."""
from __future__ import annotations

import pytest

from model.neuron.runtime import explained

SAID = {
    "TensorFlow 1.15": (
        "Nrt::Init failed: nrt_init: status=1, error message=\"Undefined error code\"\n\t [[{{node neuron_op_0}}]]",
        'Nrt::Init failed: nrt_init: status=1 (FAILURE), error message="Undefined error code"; no Neuron device',
    ),
    "TensorFlow 2": (
        "Graph execution error:\n\nDetected at node 'neuron_op_0'\nExecute failed: nrt_execute: status=6\n\t [[{{node",
        "Execute failed: nrt_execute: status=6 (HW_ERROR); the device failed while it ran the model",
    ),
    "load": ("Nrt::Load failed on NeuronCores 2-3", "Nrt::Load failed on NeuronCores 2-3; the model was not loaded on"),
    "memory": ("Not enough runtime resource to load NEFF", "Not enough runtime resource to load NEFF; the device"),
    "unknown status": ("Execute failed: nrt_execute: status=999", "Execute failed: nrt_execute: status=999; the"),
}


# What AWS's runtime prints or TensorFlow makes of it → a part of the next step. Numbers are those of AWS's tracker.
SYMPTOMS = {
    "workers × cores (441, 453, 468)": ("2022-Jul-21 ERROR NRT: NeuronCore(s) not available - Requested:4 Available:0",
                                        "workers × cores are at most"),
    "an Inf1 image on Inf2 (795)": ("python3: tpb_eng_init: Assertion `0' failed.", "different generations"),
    "a runtime past Inf1 (1071)": ("ERROR  TDRV:arch_init  Architecture not found 1", "different generations"),
    "driver and runtime (655)": ("NRT (compatibility id: 5) is not compatible with the installed aws-neuron-dkms "
                                 "package",
                                 "do not fit each other"),
    "no driver": ("Unable to determine Neuron Driver version. Please check aws-neuron-dkms package is installed.",
                  "python -m model doctor"),
    "a container without device (482, 633)": ("TDRV:tdrv_get_dev_info No neuron device available",
                                              "--device=/dev/neuron0"),
    "a closed device (415)": ("Please check /dev/neuron0 is accessible", "may not open"),
    "one model too many (625)": ("neuron:mc_alloc: device mempool (HBM) occupied 8 needed 2", "when the process ends"),
    "a model too many, in TensorFlow": ("Not enough runtime resource to load NEFF", "a process of its own (#625)"),
    "a batch (405, 613, 681, 861)": ("Inconsistent client batch sizes: 4, 3", "batches of one size"),
    "cores of an older runtime": ("Could not find VNC id 2", "a range such as 0-3"),
    "imported twice (351)": ("Framework already registered", "restart it"),
    "status 9": ("Nrt::Load failed on NeuronCores 0-3: nrt_load: status=9", "more cores than are free"),
    "status 10": ("Nrt::Load failed on NeuronCores 0-0: nrt_load: status=10, error message=\"\"", "newer than the "
                                                                                                  "runtime"),
    "status 11": ("Nrt::Load failed on NeuronCores 0-0: nrt_load: status=11", "the host has too little memory"),
    "status 1002": ("Execute failed: nrt_execute: status=1002", "another shape or type"),
    "status 1004 (351, 429)": ("Execute failed: nrt_execute: status=1004", "do not fit each other"),
    "no count of cores": ("Nrt::GetCoreCount failed: nrt_get_visible_nc_count: status=13", "cannot count the cores"),
}


@pytest.mark.parametrize("message, step", SYMPTOMS.values(), ids=SYMPTOMS)
def test_a_known_symptom_is_explained_with_the_next_step(message, step):
    said = explained(f"Graph execution error:\n{message}\n\t [[{{{{node neuron_op_0}}}}]]")
    assert step in said and "\n" not in said and "[[" not in said


@pytest.mark.parametrize("message, words", SAID.values(), ids=SAID)
def test_the_runtimes_words_are_told_with_their_meaning(message, words):
    assert explained(message).startswith(words)


def test_what_tensorflow_itself_says_is_not_the_runtimes():
    assert explained("Invalid argument: Unable to decode\n\t [[{{node DecodeJpeg}}]]") == ""
