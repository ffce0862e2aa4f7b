"""The host's CPU time per image, beside that of AWS's YOLOv4 tutorial: `python -m benchmarks.host`.

One core decodes and resizes a 640×480 photograph to 608×608, and turns head maps into detections at score 0.001. On
Inf1 this limits throughput, because 8 vCPU feed four NeuronCores. The reference does the same as the tutorial's graph
(src/examples/tensorflow/yolo_v4_demo of aws-neuron-sdk), rewritten.
"""
from __future__ import annotations

import argparse
import os
import time

import numpy as np
import tensorflow as tf

from benchmarks.case import photograph
from harness.machine.facts import facts
from model.decoding import profile_for
from model.graph.postprocess import candidates, suppress
from model.graph.preprocess import preprocess
from model.yolov4 import yolov4

ARCHITECTURE = yolov4()
PROFILE = profile_for(ARCHITECTURE)
SCORE, IOU, MOST = PROFILE.score_threshold, PROFILE.iou_threshold, PROFILE.max_detections
ROUNDS, CALLS = 9, 20


def tutorial_preprocess(images):
    """One image at a time: decode, resize, scale to [0, 1], narrow to float16."""

    def one(encoded):
        image = tf.io.decode_png(encoded, channels=3)
        return tf.cast(tf.image.resize(image, (608, 608)) / 255.0, tf.float16)

    return tf.map_fn(one, images, fn_output_signature=tf.float16)


def tutorial_postprocess(*maps):
    """Every box of every head decoded with all its class scores, filtered head by head, then suppressed."""
    boxes, scores = zip(*map(_tutorial_head, maps, ARCHITECTURE.heads))
    kept = [tf.reduce_max(score, -1)[0] > SCORE for score in scores]
    boxes = tf.concat([tf.boolean_mask(box[0], keep) for box, keep in zip(boxes, kept)], 0)
    scores = tf.concat([tf.boolean_mask(score[0], keep) for score, keep in zip(scores, kept)], 0)
    result = tf.image.combined_non_max_suppression(
        boxes[None, :, None, :], scores[None], MOST, MOST, IOU, SCORE, clip_boxes=False
    )
    return tuple(result)


def _tutorial_head(head_map, head):
    rows, columns = head_map.shape[1:3]
    values = tf.cast(tf.reshape(head_map, [1, rows, columns, len(head.anchors), 5 + head.classes]), tf.float32)
    column, row = tf.meshgrid(tf.range(columns), tf.range(rows))
    cells = tf.cast(tf.stack([column, row], -1), tf.float32)[:, :, None, :]
    xy = tf.sigmoid(values[..., 0:2]) * head.scale_x_y - (head.scale_x_y - 1) / 2
    centres = (xy + cells) / [columns, rows]
    sizes = tf.exp(values[..., 2:4]) * (np.array(head.anchors, np.float32) / 608)
    scores = tf.sigmoid(values[..., 4:5]) * tf.sigmoid(values[..., 5:])
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], -1)
    return tf.reshape(boxes, [1, -1, 4]), tf.reshape(scores, [1, -1, head.classes])


def our_preprocess(images):
    return preprocess(images, ARCHITECTURE.height, ARCHITECTURE.width)


def our_postprocess(*maps):
    return tuple(suppress(*candidates(maps, ARCHITECTURE, SCORE), PROFILE))


def head_maps() -> list[np.ndarray]:
    """Maps as of a trained network: almost all boxes are background, and thirty objects have several boxes each."""
    rng = np.random.default_rng(0)
    maps = []
    for stride, head in zip((8, 16, 32), ARCHITECTURE.heads):
        cells = 608 // stride
        values = rng.normal(0, 0.5, (1, cells, cells, 3, 5 + head.classes)).astype(np.float32)
        values[..., 4] = rng.normal(-10, 1.5, values.shape[:-1])
        values[..., 5:] = rng.normal(-6, 1.5, values[..., 5:].shape)
        for row, column, label in rng.integers(0, (cells - 2, cells - 2, head.classes), (10, 3)):
            values[0, row:row + 3, column:column + 3, :, 4] = rng.normal(0, 2, (3, 3, 3))
            values[0, row:row + 3, column:column + 3, :, 5 + label] = 3
        maps.append(values.reshape(1, cells, cells, -1))
    return maps


def compiled(function, arguments):
    """A call of the function as one TensorFlow graph."""
    concrete = tf.function(function).get_concrete_function(*(tf.TensorSpec(a.shape, a.dtype) for a in arguments))
    return lambda: concrete(*arguments)


def cpu_milliseconds(calls: dict) -> dict:
    """{name: median CPU-ms of one call}. The calls are interleaved, so that noise affects all equally."""
    spent: dict = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.process_time()
            for _ in range(CALLS):
                call()
            spent[name].append((time.process_time() - start) / CALLS * 1e3)
    return {name: float(np.median(values)) for name, values in spent.items()}


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.host", description=__doc__.split("\n")[0]).parse_args()
    # One core, as for one caller of several; two would spend time on waking each other.
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    images, maps = [tf.constant([photograph()])], [tf.constant(m) for m in head_maps()]
    calls = {
        "decode and resize, tutorial": compiled(tutorial_preprocess, images),
        "decode and resize, ours": compiled(our_preprocess, images),
        "boxes and suppression, tutorial": compiled(tutorial_postprocess, maps),
        "boxes and suppression, ours": compiled(our_postprocess, maps),
    }
    detections = (calls[f"boxes and suppression, {way}"]() for way in ("ours", "tutorial"))
    if not all(np.allclose(ours, theirs, atol=1e-4) for ours, theirs in zip(*detections)):
        raise SystemExit("the two ways give different detections, so nothing was measured")
    for call in calls.values():
        call()
    spent = cpu_milliseconds(calls)
    machine = facts()
    where = f"{machine['processor']}, {machine['cores']} cores, TensorFlow {tf.__version__}"
    print(f"{where}, {time.strftime('%Y-%m-%d')}\n")
    print("| CPU-ms an image | tutorial | ours | ratio |\n|---|---|---|---|")
    rows = {part: [spent[f"{part}, {way}"] for way in ("tutorial", "ours")]
            for part in ("decode and resize", "boxes and suppression")}
    rows["together"] = [sum(column) for column in zip(*rows.values())]
    for part, (tutorial, ours) in rows.items():
        print(f"| {part} | {tutorial:.1f} | {ours:.1f} | {tutorial / ours:.2f} |")


if __name__ == "__main__":
    main()
