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


@pytest.mark.parametrize("message, words", SAID.values(), ids=SAID)
def test_the_runtimes_words_are_told_with_their_meaning(message, words):
    assert explained(message).startswith(words)


def test_what_tensorflow_itself_says_is_not_the_runtimes():
    assert explained("Invalid argument: Unable to decode\n\t [[{{node DecodeJpeg}}]]") == ""
