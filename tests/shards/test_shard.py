"""`pytest tests/shards --shards PLACE --shard K/N`: detects a part of the dataset and publishes it. Judges nothing."""
from __future__ import annotations

import pytest

from fixtures import cluster
from fixtures.progress import say
from fixtures.system_under_test import load_dataset


def test_part(request, pytestconfig, options):
    if not options.part:
        pytest.skip("there is nothing to do without --shard K/N")
    request.getfixturevalue("dataset")  # whose images can all be read
    detector, identity = map(request.getfixturevalue, ("detector", "own_identity"))
    say(pytestconfig, cluster.published(pytestconfig, options, load_dataset(options), detector, identity))
