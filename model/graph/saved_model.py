"""SavedModel folders: their graph, the metadata that the project keeps in them, and how they are written.

Runs on Python 3.7. Only `read_meta_graph` needs TensorFlow.
"""
from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

# TensorFlow Serving ignores this folder of a SavedModel.
METADATA = Path("assets.extra", "detector.json")
# The scopes of the nodes before the network, after it, and between resized images and raw head maps. Other compilers
# than TensorFlow may compile the network, and a call of this name then replaces its nodes.
PREPROCESS, NETWORK, POSTPROCESS = "preprocess", "network", "postprocess"
SIGNATURE, TAG = "serving_default", "serve"


class SavedModelError(ValueError):
    """The SavedModel cannot be used or written; the message names its folder."""


def write_metadata(saved_model, metadata: dict) -> None:
    """Writes the detector's metadata into its SavedModel folder."""
    path = Path(saved_model, METADATA)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(metadata, indent=1))


def read_metadata(saved_model) -> dict:
    """The metadata of a SavedModel; empty if this project did not build it. Raises SavedModelError."""
    path = Path(saved_model, METADATA)
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise SavedModelError(f"{path}: cannot be read ({error}); build the model again") from None


def read_meta_graph(saved_model):
    """The MetaGraphDef of a SavedModel folder that has signature `serving_default`. Raises SavedModelError."""
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        saved = parse_saved_model(str(saved_model))
    except (OSError, ValueError) as error:
        raise SavedModelError(f"{saved_model}: is not a SavedModel: {str(error).splitlines()[0]}") from None
    for meta_graph in saved.meta_graphs:
        if TAG in meta_graph.meta_info_def.tags and SIGNATURE in meta_graph.signature_def:
            return meta_graph
    raise SavedModelError(f"{saved_model}: has no signature {SIGNATURE}; save it with one")


@contextmanager
def published(output):
    """A new folder beside `output`, renamed to it if the block ends without an error and removed otherwise.

    Raises SavedModelError.
    """
    output = Path(output)
    if output.exists():
        raise SavedModelError(f"{output}: exists already; choose another folder or remove it")
    partial = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise SavedModelError(f"{output}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        yield partial
        os.replace(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
