"""SavedModel → frozen GraphDef → SavedModel: without variables and function calls, as compilers need it."""
from __future__ import annotations

import re
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.grappler import tf_optimizer

from model.graph.operators import node_name, reached
from model.graph.saved_model import NETWORK, SIGNATURE, SavedModelError, published, read_metadata, write_metadata

# Equal constants of fewer bytes are merged.
SMALL = 300
# TensorFlow sets this attribute of loops by chance, and the same model must give the same graph.
BY_CHANCE = "_has_manual_control_dependencies"
# Prefixes that TensorFlow adds to the names of a function's nodes.
WRAPPING = re.compile(r"^(ConstantFolding/)?(Func/)?(StatefulPartitionedCall/|PartitionedCall/)+")


def frozen_graph(saved_model, batch=None, is_tidy=True):
    """(GraphDef, {input key: tensor name}, {output key: tensor name}) of signature `serving_default`, frozen.

    The nodes of this project's models are in the scopes `preprocess`, `network` and `postprocess`. With `batch` the
    graph takes exactly so many images, and every shape that follows from that is fixed. Without `is_tidy` nothing is
    simplified. Raises SavedModelError.
    """
    loaded, function = _load(saved_model)  # the function's variables live only as long as `loaded`
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=True, aggressive_inlining=True)
    inputs = {tensor.name.split(":")[0]: tensor.name for tensor in frozen.inputs}
    outputs = dict(zip(sorted(function.structured_outputs), (tensor.name for tensor in frozen.outputs)))
    del loaded
    graph_def = frozen.graph.as_graph_def()
    if batch:
        for node in graph_def.node:
            if node.name in inputs:
                node.attr["shape"].shape.dim[0].size = batch
    return _tidied(graph_def, inputs, outputs) if is_tidy else graph_def, inputs, outputs


def _load(saved_model):
    try:
        loaded = tf.saved_model.load(str(saved_model))
        return loaded, loaded.signatures[SIGNATURE]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = f"has no signature {SIGNATURE}" if isinstance(error, KeyError) else str(error).split("\n")[0]
        raise SavedModelError(f"{saved_model}: is not a SavedModel that can be compiled: {reason}") from None


def _tidied(graph_def, inputs, outputs):
    """The graph without the leftovers of freezing: identities, shapes of constants, prefixes of names."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        meta_graph = tf.compat.v1.train.export_meta_graph(graph_def=graph_def, graph=graph)
    wanted = [*inputs.values(), *outputs.values()]
    meta_graph.collection_def["train_op"].node_list.value.extend(wanted)
    config = config_pb2.ConfigProto()
    rewrite = config.graph_options.rewrite_options
    rewrite.optimizers.extend(["constfold", "dependency", "pruning"])
    rewrite.min_graph_nodes, rewrite.meta_optimizer_iterations = -1, rewrite.ONE
    tidy = tf_optimizer.OptimizeGraph(config, meta_graph)
    return _renamed(_without_twins(_needed(tidy, map(node_name, wanted))))


def _needed(graph_def, names):
    """The graph with only the nodes that these need, without attributes that differ by chance."""
    nodes = {node.name: node for node in graph_def.node}
    needed = reached(names, lambda name: map(node_name, nodes[name].input))
    kept = tf.compat.v1.GraphDef(versions=graph_def.versions)
    kept.node.extend(node for node in graph_def.node if node.name in needed)
    for node in kept.node:
        if BY_CHANCE in node.attr:
            del node.attr[BY_CHANCE]
    return kept


def _without_twins(graph_def):
    """The graph with equal small constants merged; each use has brought its own."""
    first: dict[bytes, str] = {}
    twins = {}
    for node in graph_def.node:
        if node.op == "Const" and not node.input and node.ByteSize() < SMALL and NETWORK not in node.name:
            value = node.attr["value"].SerializeToString(deterministic=True)
            twin = first.setdefault(value, node.name)
            if twin != node.name:
                twins[node.name] = twin
    for node in [node for node in graph_def.node if node.name in twins]:
        graph_def.node.remove(node)
    for node in graph_def.node:
        node.input[:] = [twins.get(name, name) for name in node.input]
    return graph_def


def _renamed(graph_def):
    names: dict[str, str] = {}
    for node in graph_def.node:
        name = WRAPPING.sub("", node.name)
        while name in names.values():
            name += "_"
        names[node.name] = name
    for node in graph_def.node:
        node.name = names[node.name]
        for position, source in enumerate(node.input):
            control, name, port = re.match(r"(\^?)([^:]*)(.*)", source).groups()
            node.input[position] = control + names[name] + port
    return graph_def


def network_part(graph_def):
    """(GraphDef of the network's nodes, the tensor that they read, the tensors that other nodes read from them).

    Raises SavedModelError if there is no such part, or if it reads more than the images.
    """
    part = tf.compat.v1.GraphDef(versions=graph_def.versions)
    part.node.extend(node for node in graph_def.node if node.name.startswith(f"{NETWORK}/"))
    inside = {node.name for node in part.node}

    def read(nodes, of_inside):
        names = (name for node in nodes for name in node.input)
        return list(dict.fromkeys(name for name in names if (node_name(name) in inside) == of_inside))

    sources, heads = read(part.node, False), read((n for n in graph_def.node if n.name not in inside), True)
    if len(sources) != 1 or not heads:
        raise SavedModelError(f"the model has no part `{NETWORK}` between images and head maps; build it with "
                              "`python -m model build`")
    return part, sources[0], heads


def imported(graph_def) -> tf.Graph:
    """The graph of a GraphDef, which stays as it is: TensorFlow would add default values to it, unknown to 1.15."""
    copied = tf.compat.v1.GraphDef()
    copied.CopyFrom(graph_def)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(copied, name="")
    return graph


def network_function(graph_def, batch=1) -> tuple:
    """The network of a frozen graph, to be compiled or planned alone: (`tf.function` of `batch` images, the
    `tf.TensorSpec` of those, the tensor that it reads in the graph, the head maps that it gives).

    Raises SavedModelError.
    """
    part, source, heads = network_part(graph_def)
    tensor = imported(graph_def).get_tensor_by_name(source + ":0")
    image = tf.TensorSpec([batch, *tensor.shape.as_list()[1:]], tensor.dtype)

    @tf.function(input_signature=[image], autograph=False)
    def network(images):
        return tf.import_graph_def(part, {source: images}, [head + ":0" for head in heads], name="")

    return network, image, source, heads


def call_instead_of_network(graph_def, source: str, heads: list, function, shape, dtype=tf.float32):
    """Replaces, in place, the network's nodes by one call of a `tf.function` that returns the head maps.

    `shape` and `dtype` are those of the images for which the function is traced. Returns the NodeDef of the call.
    """
    with tf.Graph().as_default() as graph:
        results = tf.nest.flatten(function(tf.compat.v1.placeholder(dtype, shape)))
    for node in [node for node in graph_def.node if node.name.startswith(f"{NETWORK}/")]:
        graph_def.node.remove(node)
    renamed = {head: f"{NETWORK}:{result.value_index}" for head, result in zip(heads, results)}
    for node in graph_def.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    call = graph_def.node.add()
    call.CopyFrom(results[0].op.node_def)
    call.name = NETWORK
    call.input[:] = [source]
    graph_def.library.CopyFrom(graph.as_graph_def().library)
    return call


def write_compiled(saved_model, output, graph_def, inputs: dict, outputs: dict, **facts) -> Path:
    """Writes the SavedModel folder `output`, complete or not at all, with the metadata of `saved_model` and `facts`.

    Raises SavedModelError.
    """
    with published(output) as folder:
        folder.rmdir()  # TensorFlow's builder makes the folder itself
        write_saved_model(graph_def, inputs, outputs, folder)
        write_metadata(folder, {**read_metadata(saved_model), **facts})
    return Path(output)


def write_saved_model(graph_def, inputs: dict, outputs: dict, folder) -> None:
    """Writes the frozen graph as a TensorFlow 1 SavedModel, which every version since 1.15 loads."""
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
            session, [v1.saved_model.tag_constants.SERVING], {SIGNATURE: signature}, strip_default_attrs=True
        )
        builder.save()


def _info(graph, name):
    tensor = graph.get_tensor_by_name(name)
    return meta_graph_pb2.TensorInfo(
        name=name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=tensor.shape.as_proto()
    )
