"""An operator NeuronOp for a TensorFlow without Neuron, registered through TensorFlow's C API: runs its program on CPU.

A program here is a GraphDef that reads the placeholders in_0, in_1, … and gives out_0, out_1, …
"""
from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from itertools import cycle
from pathlib import Path
from threading import Lock

import numpy as np
import tensorflow as tf

from model.neuron.machine.counters import SYSFS

# TensorFlow's number of a type → NumPy's type.
TYPES = {1: np.float32, 19: np.float16}
NUMBERS = {np.dtype(kind): number for number, kind in TYPES.items()}
CORES = 4
# Attributes as aws-neuron-tensorflow's python/graph_def_util.py reads and writes them.
ATTRIBUTES = (
    "graph_def: string", "executable: string", "input_names: list(string)", "output_names: list(string)",
    "input_dtypes: list(type) >= 0", "output_dtypes: list(type) >= 0", "input_shapes: list(shape) = []",
    "output_shapes: list(shape) = []", "input_batch_axis: list(int) = []", "output_batch_axis: list(int) = []",
    "model_config: list(int) = []",
)
INVALID_ARGUMENT, UNAVAILABLE, INTERNAL = 3, 14, 13


def _library():
    library = ctypes.CDLL(str(Path(tf.__file__).parent / "libtensorflow_framework.so.2"))
    for name in ("TF_NewStatus", "TF_NewOpDefinitionBuilder", "TF_NewKernelBuilder", "TF_TensorData",
                 "TF_AllocateTensor"):
        getattr(library, name).restype = c_void_p
    library.TF_Dim.restype, library.TF_Message.restype = c_int64, c_char_p
    return library


class Driver:
    """What stands for the driver: its counters of one chip, as files of a planted machine, or none without one."""

    def __init__(self, machine):
        self._root, self._lock = Path(machine or "/nowhere", SYSFS, "neuron0"), Lock()

    def count(self, core, counter):
        """Adds one to neuron_core<core>/stats/<counter>/total."""
        if self._root.is_dir():
            with self._lock:
                file = self._root / f"neuron_core{core}" / "stats" / counter / "total"
                draft = file.with_name("draft")  # nobody may read half a file
                draft.write_text(f"{int(file.read_text()) + 1}\n")
                draft.replace(file)


class Runtime:
    """What stands for the Neuron runtime: runs programs on one core after the other, or fails as it is told to."""

    def __init__(self, failure="", machine=None):
        self.failure, self.calls, self._library, self._sessions = failure, 0, _library(), {}
        self._driver = Driver(machine)
        # As where NEURON_RT_VISIBLE_CORES names two, or two of four loads have failed.
        self._turns = cycle(range(CORES // 2 if failure in ("idle", "reduced") else CORES))

    def register(self) -> None:
        """Registers the operator and its kernel in this process, once."""
        builder = c_void_p(self._library.TF_NewOpDefinitionBuilder(b"NeuronOp"))
        self._library.TF_OpDefinitionBuilderAddInput(builder, b"input_tensors: input_dtypes")
        self._library.TF_OpDefinitionBuilderAddOutput(builder, b"output_tensors: output_dtypes")
        for attribute in ATTRIBUTES:
            self._library.TF_OpDefinitionBuilderAddAttr(builder, attribute.encode())
        self._library.TF_OpDefinitionBuilderSetIsStateful(builder, True)
        status = c_void_p(self._library.TF_NewStatus())
        self._library.TF_RegisterOpDefinition(builder, status)
        self._require(status)
        # They must live as long as the process: TensorFlow keeps the addresses alone.
        self._functions = (
            ctypes.CFUNCTYPE(c_void_p, c_void_p)(self._create),
            ctypes.CFUNCTYPE(None, c_void_p, c_void_p)(self._compute),
            ctypes.CFUNCTYPE(None, c_void_p)(lambda kernel: None),
        )
        kernel = c_void_p(self._library.TF_NewKernelBuilder(b"NeuronOp", b"CPU", *self._functions))
        self._library.TF_RegisterKernelBuilder(b"NeuronOp", kernel, status)
        self._require(status)

    def _require(self, status):
        if self._library.TF_GetCode(status):
            raise RuntimeError(self._library.TF_Message(status).decode())

    def _create(self, construction):
        construction, status = c_void_p(construction), c_void_p(self._library.TF_NewStatus())
        length, total = c_int(), c_int()
        self._library.TF_OpKernelConstruction_GetAttrSize(
            construction, b"executable", byref(length), byref(total), status)
        program = ctypes.create_string_buffer(total.value)
        self._library.TF_OpKernelConstruction_GetAttrString(
            construction, b"executable", program, c_size_t(total.value), status)
        self._require(status)
        number = len(self._sessions) + 1
        self._sessions[number] = _session(program.raw[:total.value])
        return number

    def _compute(self, kernel, context):
        context, status = c_void_p(context), c_void_p(self._library.TF_NewStatus())
        try:
            self._run(self._sessions[kernel], context, status)
        except Failure as failure:
            self._library.TF_SetStatus(status, failure.code, str(failure).encode())
            self._library.TF_OpKernelContext_Failure(context, status)

    def _run(self, program, context, status):
        self.calls += 1
        if self.failure == "absent":
            raise Failure(UNAVAILABLE, "Nrt::Init failed: nrt_init: status=1, error message=\"Undefined error code\"")
        if self.failure == "reduced" and self.calls == 1:
            raise Failure(INTERNAL, "Nrt::Load failed on NeuronCores 2-3")
        core = self._core()
        if self.failure == "lost" and self.calls > 4:
            self._driver.count(core, "status/hw_error")
            raise Failure(INTERNAL, "Execute failed: nrt_execute: status=6")
        session, sources, results = program
        images = [self._input(context, index, status) for index in range(len(sources))]
        try:
            values = session.run(results, dict(zip(sources, images)))
        except ValueError as error:  # without dynamic batching a program takes one batch size alone
            raise Failure(INVALID_ARGUMENT, f"incorrect shape of an input tensor: {error}") from None
        self._driver.count(core, "other_info/inference_count")
        for index, value in enumerate(self._spoiled(values, core)):
            self._output(context, index, np.ascontiguousarray(value), status)

    def _core(self):
        # Several operators are loaded once each, and where there are four cores all onto the first.
        return next(self._turns) if len(self._sessions) == 1 else 0

    def _spoiled(self, values, core):
        if self.failure == "nan":  # the runtime's status 1003, which TensorFlow takes for success
            self._driver.count(core, "status/execute_completed_with_num_error")
            return [value * value.dtype.type("nan") for value in values]
        if self.failure == "errors" and core == 1:
            self._driver.count(core, "status/hw_error")
        if self.failure == "same":
            self._first = getattr(self, "_first", [value[:1] for value in values])
            return [np.repeat(first, len(value), 0) for first, value in zip(self._first, values)]
        return values

    def _input(self, context, index, status):
        tensor = c_void_p()
        self._library.TF_GetInput(context, index, byref(tensor), status)
        self._require(status)
        shape = [self._library.TF_Dim(tensor, axis) for axis in range(self._library.TF_NumDims(tensor))]
        values = np.empty(shape, TYPES[self._library.TF_TensorType(tensor)])
        ctypes.memmove(values.ctypes.data, self._library.TF_TensorData(tensor), values.nbytes)
        self._library.TF_DeleteTensor(tensor)
        return values

    def _output(self, context, index, values, status):
        shape = (c_int64 * values.ndim)(*values.shape)
        kind, size = NUMBERS[values.dtype], c_size_t(values.nbytes)
        tensor = c_void_p(self._library.TF_AllocateTensor(kind, shape, values.ndim, size))
        ctypes.memmove(self._library.TF_TensorData(tensor), values.ctypes.data, values.nbytes)
        self._library.TF_SetOutput(context, index, tensor, status)
        self._library.TF_DeleteTensor(tensor)
        self._require(status)


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def _session(program: bytes):
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(program), name="")
    names = [op.name for op in graph.get_operations()]
    sources = sorted((f"{name}:0" for name in names if name.startswith("in_")), key=len)
    results = sorted((f"{name}:0" for name in names if name.startswith("out_")), key=len)
    # Threads of its own: those of TensorFlow's pool may all be waiting for it.
    config = tf.compat.v1.ConfigProto(use_per_session_threads=True)
    return tf.compat.v1.Session(graph=graph, config=config), sources, results
