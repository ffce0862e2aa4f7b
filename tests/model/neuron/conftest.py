"""Fixtures of the tests of Neuron: the detectors, built and exported once a session."""
from __future__ import annotations

from functools import cache

import pytest


@pytest.fixture(scope="session")
def built_detector(tmp_path_factory, request):
    """A function: name → the SavedModel of that detector of `detectors.DETECTORS`."""
    from tests.model.neuron.detectors import built

    return cache(lambda name: built(name, lambda: request.getfixturevalue("real"), tmp_path_factory.mktemp(name) / "m"))


@pytest.fixture(scope="session")
def exported_graph(built_detector, tmp_path_factory):
    """A function: name → (folder, MetaGraphDef) of what is handed to Neuron's compilers."""
    from tensorflow.core.protobuf import saved_model_pb2

    from tests.model.neuron.detectors import exported

    @cache
    def export(name):
        folder = exported(built_detector(name), tmp_path_factory.mktemp(name) / "exported")
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        return folder, saved.meta_graphs[0]

    return export
