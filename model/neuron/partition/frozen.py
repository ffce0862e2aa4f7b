"""Reads a graph to plan from a SavedModel folder or from a file with a frozen GraphDef."""
from __future__ import annotations

from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from model.graph.operators import NOT_OPERATORS, node_name
from model.graph.saved_model import SIGNATURE, TAG, SavedModelError, read_meta_graph, read_metadata

VARIABLES = ("VarHandleOp", "Variable", "VariableV2")


def read_graph(path):
    """(frozen GraphDef, names of the inputs, names of the outputs).

    A SavedModel's inputs and outputs are those of signature `serving_default`; one that is not frozen is frozen as the
    package that compiles it does: tensorflow-neuron with nothing simplified, and a model of this project as it is
    handed over. The inputs of a GraphDef are its placeholders, its outputs the operators that no node reads. Raises
    SavedModelError.
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
    if meta_graph and not meta_graph.graph_def.library.function:
        signature = meta_graph.signature_def[SIGNATURE]
        inputs, outputs = ([info.name for _, info in sorted(infos.items())]
                           for infos in (signature.inputs, signature.outputs))
        is_frozen = not any(node.op in VARIABLES for node in meta_graph.graph_def.node)
        return meta_graph.graph_def if is_frozen else _without_variables(path, [*inputs, *outputs]), inputs, outputs
    from model.graph.freeze import frozen_graph

    graph_def, inputs, outputs = frozen_graph(path, is_tidy=bool(read_metadata(path)))
    return graph_def, list(inputs.values()), list(outputs.values())


def _without_variables(path, tensors):
    """The graph of a SavedModel of TensorFlow 1 that these tensors need, its variables as constants.

    As tfn.saved_model.compile does it. Raises SavedModelError.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    try:
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            v1.saved_model.load(session, [TAG], str(path))
            names = list(dict.fromkeys(map(node_name, tensors)))
            return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), names)
    except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise SavedModelError(f"{path}: cannot be frozen: {str(error).splitlines()[0]}; save the model again") from None


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
