"""Reads a graph to plan from a SavedModel folder or from a file with a frozen GraphDef."""
from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from model.graph.operators import NOT_OPERATORS, node_name
from model.graph.saved_model import SIGNATURE, SavedModelError, read_meta_graph

VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def read_graph(path):
    """(frozen GraphDef, names of the inputs, names of the outputs).

    A SavedModel is frozen if it is not; its inputs and outputs are those of signature `serving_default`. The inputs of
    a GraphDef are its placeholders, its outputs the operators that no node reads. Raises SavedModelError.
    """
    path = Path(path)
    if not path.exists():
        raise SavedModelError(f"{path}: there is no such file or folder")
    return _from_saved_model(path) if path.is_dir() else _from_file(path)


def _from_saved_model(path):
    try:
        meta_graph = read_meta_graph(path)
    except SavedModelError:
        meta_graph = None  # TensorFlow's own loader explains it below
    if meta_graph and _is_frozen(meta_graph.graph_def):
        signature = meta_graph.signature_def[SIGNATURE]
        return meta_graph.graph_def, _tensors(signature.inputs), _tensors(signature.outputs)
    from model.graph.freeze import frozen_graph

    graph_def, inputs, outputs = frozen_graph(path)
    return graph_def, list(inputs.values()), list(outputs.values())


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
        raise SavedModelError(f"{path}: must be a SavedModel folder or a file with a frozen GraphDef (.pb)")
    read = {node_name(source) for node in graph_def.node for source in node.input}
    inputs = [node.name for node in graph_def.node if node.op == "Placeholder"]
    outputs = [node.name for node in graph_def.node if node.name not in read and node.op not in NOT_OPERATORS]
    return graph_def, inputs, outputs
