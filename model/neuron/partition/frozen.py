"""Where a graph to plan comes from: a SavedModel, or a file that holds a frozen GraphDef."""
from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from model.graph.saved_model import SavedModelError
from model.neuron.partition.graph import node_name
from model.neuron.partition.operators import NOT_OPERATORS

SIGNATURE, TAG = "serving_default", "serve"
VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def read_graph(path):
    """→ (frozen GraphDef, names of the inputs, names of the outputs).

    A SavedModel's are those of its signature `serving_default`, and it is frozen unless it is so already. Of a
    GraphDef all placeholders are inputs, and what nobody reads is an output. Raises SavedModelError.
    """
    path = Path(path)
    if not path.exists():
        raise SavedModelError(f"{path}: there is no such file or folder")
    return _from_saved_model(path) if path.is_dir() else _from_file(path)


def _from_saved_model(path):
    meta_graph = _meta_graph(path)
    if meta_graph and _is_frozen(meta_graph.graph_def):
        signature = meta_graph.signature_def[SIGNATURE]
        return meta_graph.graph_def, _tensors(signature.inputs), _tensors(signature.outputs)
    from model.graph.freeze import frozen_graph

    graph_def, inputs, outputs = frozen_graph(path)
    return graph_def, list(inputs.values()), list(outputs.values())


def _meta_graph(path):
    """The SavedModel's graph with a signature, or None: then TensorFlow's own loader says what is wrong."""
    try:
        saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return None
    return next((m for m in saved.meta_graphs if TAG in m.meta_info_def.tags and SIGNATURE in m.signature_def), None)


def _is_frozen(graph_def) -> bool:
    return not graph_def.library.function and not any(node.op in VARIABLES for node in graph_def.node)


def _tensors(infos) -> list[str]:
    return [info.name for _, info in sorted(infos.items())]


def _from_file(path):
    try:
        graph_def = graph_pb2.GraphDef.FromString(path.read_bytes())
    except DecodeError:
        graph_def = graph_pb2.GraphDef()
    if not graph_def.node:
        raise SavedModelError(f"{path}: is neither a SavedModel folder nor a file with a frozen GraphDef (.pb)")
    read = {node_name(source) for node in graph_def.node for source in node.input}
    inputs = [node.name for node in graph_def.node if node.op == "Placeholder"]
    outputs = [node.name for node in graph_def.node if node.name not in read and node.op not in NOT_OPERATORS]
    return graph_def, inputs, outputs
