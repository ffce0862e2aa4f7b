"""A key has a short name that follows every fact, with the versions of the SDK in a part of their own."""
from __future__ import annotations

from harness.history import key

KEY = {"weights": "w", "cast": "fp32", "cores": 4, "instance": None, "tensorflow": "2.10.1", "neuron_cc": "1.24.0"}


def changed(**facts) -> list[bool]:
    """Which parts of the digest another fact leaves as they are: all but the SDK, the SDK."""
    parts = zip(key.digest(KEY).split("-"), key.digest({**KEY, **facts}).split("-"))
    return [one == other for one, other in parts]


def test_the_order_of_facts_does_not_matter():
    assert key.digest(KEY) == key.digest(dict(reversed(KEY.items())))


def test_every_fact_matters_and_an_upgrade_of_the_sdk_is_seen_apart():
    assert changed(weights="v") == changed(instance="inf1.xlarge") == changed(cores=5) == [False, True]
    assert changed(tensorflow="2.10.2") == changed(tensorflow_neuron="2.10.1.2.12.2.0") == [True, False]
    assert changed(cast="bf16", neuron_cc=None) == [False, False] and changed() == [True, True]


def test_what_differs_is_named_with_both_values():
    other = {**KEY, "cores": 8, "gpu": "T4"}
    assert key.differing(KEY, other) == {"cores": (4, 8), "gpu": (None, "T4")}
    assert key.differing(KEY, KEY) == {}
