"""SavedModel → frozen GraphDef → SavedModel: no variables, no function calls, as every compiler wants it."""
from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class SavedModelError(ValueError):
    """The folder is not a usable SavedModel; the message names it."""


def frozen_graph(saved_model):
    """→ (GraphDef, {input key: tensor name}, {output key: tensor name}) of signature `serving_default`."""
    loaded, function = _load(saved_model)  # the function's variables live only as long as `loaded`
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=True, aggressive_inlining=True)
    inputs = {tensor.name.split(":")[0]: tensor.name for tensor in frozen.inputs}
    outputs = dict(zip(sorted(function.structured_outputs), (tensor.name for tensor in frozen.outputs)))
    del loaded
    return frozen.graph.as_graph_def(), inputs, outputs


def _load(saved_model):
    try:
        loaded = tf.saved_model.load(str(saved_model))
        return loaded, loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = "has no signature serving_default" if isinstance(error, KeyError) else str(error).split("\n")[0]
        raise SavedModelError(f"{saved_model}: is not a SavedModel that can be compiled: {reason}") from None


def write_saved_model(graph_def, inputs: dict, outputs: dict, folder) -> None:
    """Writes the frozen graph as a SavedModel of TensorFlow 1's form, which every version since 1.15 loads."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        signature = v1.saved_model.build_signature_def(
            {key: _info(graph, name) for key, name in inputs.items()},
            {key: _info(graph, name) for key, name in outputs.items()},
            v1.saved_model.signature_constants.PREDICT_METHOD_NAME,
        )
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, [v1.saved_model.tag_constants.SERVING], {"serving_default": signature}, strip_default_attrs=True
        )
        builder.save()


def _info(graph, name):
    tensor = graph.get_tensor_by_name(name)
    return meta_graph_pb2.TensorInfo(
        name=name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )
