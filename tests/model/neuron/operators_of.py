"""Writes the operators that the TensorFlow at hand knows, of version 1.15: a line each, sorted, as

    Cumsum T:float,double,… Tidx:int32,int64 exclusive reverse

that is the type and its attributes, with the data types that one may have where not all are allowed.
`python -m tests.model.neuron.operators_of > tests/model/neuron/tensorflow_1_15_operators.txt`, on Python 3.7.
"""
import tensorflow as tf
from tensorflow.core.framework import op_def_pb2
from tensorflow.python import pywrap_tensorflow
from tensorflow.python.framework.versions import GRAPH_DEF_VERSION, GRAPH_DEF_VERSION_MIN_PRODUCER


def attribute(one):
    allowed = sorted(tf.as_dtype(number).name for number in one.allowed_values.list.type)
    return one.name + (":" + ",".join(allowed) if allowed else "")


def main():
    registry = op_def_pb2.OpList.FromString(pywrap_tensorflow.TF_GetBuffer(pywrap_tensorflow.TF_GetAllOpList()))
    print(f"# The operators of TensorFlow {tf.__version__}, written by tests/model/neuron/operators_of.py. GraphDef "
          f"versions: {GRAPH_DEF_VERSION_MIN_PRODUCER} to {GRAPH_DEF_VERSION}.")
    for operator in sorted(registry.op, key=lambda one: one.name):
        print(" ".join([operator.name, *sorted(map(attribute, operator.attr))]))


if __name__ == "__main__":
    main()
