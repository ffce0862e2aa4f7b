"""`pytest tests/shards --shards PLACE --shard K/N`: detects a part of the dataset and publishes it. Judges nothing."""
from __future__ import annotations

import pytest

from fixtures import cluster
from fixtures.progress import say
from fixtures.system_under_test import load_dataset


def test_part(pytestconfig, options, dataset, detector, own_identity):
    if not options.part:
        pytest.skip("gives nothing to do without --shard K/N")
    say(pytestconfig, cluster.published(pytestconfig, options, load_dataset(options), detector, own_identity))
