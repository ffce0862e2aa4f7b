"""The detector: one `Detections` per image, whatever else is in the batch, from any number of threads."""
from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.architecture import Convolutional
from model.backends import cpu
from model.detector import Detector
from model.formats.weights import random_weights
from model.graph.build import build
from model.graph.freeze import write_compiled, write_saved_model
from model.graph.saved_model import METADATA, SavedModelError
from tests.model import samples
from tests.model.samples import encode, one_head, pixels, sample_images

GOOD = sample_images(4)
BAD = {
    "empty": (b"", "the image is empty (0 bytes)"),
    "text": (b"this is not a picture", "the image (21 bytes) cannot be decoded: "),
    "truncated JPEG": (GOOD[0][:len(GOOD[0]) // 2], f"the image ({len(GOOD[0]) // 2:,} bytes) cannot be decoded: "),
    "JPEG without its body": (GOOD[0][:20], "the image (20 bytes) cannot be decoded: "),
    "truncated PNG": (encode(pixels())[:200], "the image (200 bytes) cannot be decoded: "),
    "WebP": (encode(pixels(8, 8), "WEBP"), "it is WebP; convert it to JPEG or PNG"),
    "JPEG XL of gigabytes": (bytes.fromhex("ff0a463837611400"), "it is JPEG XL; convert it to JPEG or PNG"),
    "PNG of gigabytes": (encode(pixels()).replace(struct.pack(">II", 80, 60), struct.pack(">II", 50_000, 50_000), 1),
                         "declares 50,000 x 50,000 pixels, more than the limit of 100,000,000 (max_pixels)"),
    # Its header is good, so that the decoder finds out.
    "PNG with a wrong checksum": (encode(pixels())[:-20] + bytes(8) + encode(pixels())[-12:], "cannot be decoded: "),
}


def same(one, two) -> bool:
    """Whether two detections are equal to the bit."""
    return all(np.array_equal(a, b) for a, b in zip(one[:3], two[:3])) and one.error == two.error


def assert_close(results, expected):
    """Detections of other batch sizes: the same objects, boxes to 1e-3 pixels."""
    for one, two in zip(results, expected):
        np.testing.assert_array_equal(one.classes, two.classes)
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-3)


@pytest.fixture(scope="module")
def alone(tiny_detector):
    """The detections of each good image sent by itself."""
    return [tiny_detector.detect([image])[0] for image in GOOD]


def test_answers_have_the_promised_types_and_shapes(alone):
    for boxes, scores, classes, error in alone:
        n = len(scores)
        assert n > 0 and error == ""
        assert (boxes.shape, scores.shape, classes.shape) == ((n, 4), (n,), (n,))
        assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int32)


def test_scores_fall_and_boxes_lie_within_their_picture(alone):
    for i, (boxes, scores, classes, _) in enumerate(alone):
        size = np.array([60 + 17 * i, 90 - 7 * i] * 2)
        assert (np.diff(scores) <= 0).all() and (scores >= 0.01).all() and (scores <= 1).all()
        assert (boxes >= 0).all() and (boxes <= size).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
        assert set(classes) <= {0, 1, 2}


def test_different_pictures_get_different_answers(alone):
    assert not same(alone[0], alone[1])


def test_the_same_picture_gets_the_same_answer_again(tiny_detector, alone):
    assert same(tiny_detector.detect(GOOD[:1])[0], alone[0])


def test_no_image_has_no_answer(tiny_detector):
    assert tiny_detector.detect([]) == []


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6), st.integers(1, 4))
def test_an_answer_depends_on_its_picture_alone(tiny_detector, alone, batches, threads):
    """Not on the batch's size, the order in it, its batch-mates, or on what other threads send meanwhile."""
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(lambda batch: tiny_detector.detect([GOOD[i] for i in batch]), batches)
        for batch, found in zip(batches, results):
            assert_close(found, [alone[i] for i in batch])


@pytest.mark.parametrize("container", [tuple, lambda images: np.array(images, object)], ids=["tuple", "array"])
def test_any_sequence_of_images_is_taken(tiny_detector, alone, container):
    assert_close(tiny_detector.detect(container(GOOD)), alone)


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_what_is_no_picture_gets_its_own_error(tiny_detector, content, message):
    result, = tiny_detector.detect([content])
    assert message in result.error and len(result.scores) == 0
    assert (result.boxes.shape, result.boxes.dtype, result.classes.dtype) == ((0, 4), np.float32, np.int32)


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD)
def test_batch_mates_of_what_is_no_picture_are_answered_as_if_it_were_not_there(tiny_detector, alone, content, message):
    first, broken, second = tiny_detector.detect([GOOD[1], content, GOOD[2]])
    assert message in broken.error
    assert_close([first, second], [alone[1], alone[2]])


def test_a_bad_header_changes_no_bit_of_its_batch_mates(tiny_detector):
    first, _, second = tiny_detector.detect([GOOD[1], b"bad", GOOD[2]])
    expected = tiny_detector.detect([GOOD[1], GOOD[2]])
    assert same(first, expected[0]) and same(second, expected[1])


def test_the_limit_of_pixels_is_the_profiles(tmp_path):
    architecture, profile = one_head(Convolutional(8, 3, 4, 1)), replace(samples.PROFILE, max_pixels=80 * 60)
    model = build(architecture, random_weights(architecture, 0), tmp_path / "m", profile)
    limited = Detector(cpu.compile(model, tmp_path / "c"))
    errors = [result.error for result in limited.detect([encode(pixels()), encode(pixels(81, 60))])]
    assert errors[0] == "" and "declares 81 x 60 pixels, more than the limit of 4,800 (max_pixels)" in errors[1]


def test_boxes_are_those_of_the_image_upright(tiny_detector):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = pixels(90, 60)
    turned = tiny_detector.detect([encode(array, exif=exif)])
    assert_close(turned, tiny_detector.detect([encode(np.rot90(array, -1))]))


def test_a_batch_of_nothing_but_bad_images_names_each(tiny_detector):
    results = tiny_detector.detect([content for content, _ in BAD.values()])
    assert [message in result.error for result, (_, message) in zip(results, BAD.values())] == [True] * len(BAD)


def test_eight_threads_get_the_answers_of_one(tiny_detector, alone):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: tiny_detector.detect([GOOD[i % 4]])[0], range(48)))
    wrong = [i for i, result in enumerate(results) if not same(result, alone[i % 4])]
    assert not wrong, f"results {wrong} of 48 differ"


def test_eight_threads_with_bad_images_get_each_its_own_answer(tiny_detector, alone):
    batches = [[GOOD[i % 4], b"bad"] if i % 2 else [GOOD[i % 4]] for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(tiny_detector.detect, batches))
    assert all(same(found[0], alone[i % 4]) for i, found in enumerate(results))
    assert [len(found) for found in results] == [len(batch) for batch in batches]


def test_a_network_that_gives_nan_is_not_taken_for_one_that_sees_nothing(frozen, tiny_model, tmp_path):
    """What the graph's optimisers make of the comparison counts, not what it says."""
    graph_def, inputs, outputs = frozen()
    last = [node for node in graph_def.node if node.op == "BiasAdd"][-1]
    bias = next(node for node in graph_def.node if node.name == last.input[1]).attr["value"].tensor
    bias.tensor_content = np.full(len(bias.tensor_content) // 4, np.nan, np.float32).tobytes()
    broken = Detector(write_compiled(tiny_model, tmp_path / "broken", graph_def, inputs, outputs))
    assert np.isinf(broken.detect(GOOD[:1])[0].scores).sum() > 0


def test_metadata_say_what_runs(tiny_detector):
    assert [tiny_detector.metadata[key] for key in ("names", "cast", "width")] == [["cup", "can", "bottle"], "fp32", 64]


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 99], ids=["empty folder", "empty model", "garbage"])
def test_a_folder_that_is_not_a_saved_model_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(SavedModelError, match=f"^{tmp_path}: is"):
        Detector(tmp_path)


def foreign(folder, output_names=("boxes", "scores", "classes", "count"), input_name="image"):
    """A SavedModel that this project did not build: it finds nothing in any image."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.string, [None], "in")
        n = tf.size(images)
        shapes = {"boxes": [n, 1, 4], "scores": [n, 1], "classes": [n, 1], "count": [n]}
        outputs = {
            name: tf.zeros(shapes.get(name, [n]), tf.int32 if name in ("classes", "count") else tf.float32).name
            for name in output_names
        }
        write_saved_model(graph.as_graph_def(), {input_name: images.name}, outputs, folder)
    return folder


def test_a_saved_model_without_our_metadata_runs_and_says_nothing_of_itself(tmp_path):
    detector = Detector(foreign(tmp_path / "foreign"))
    assert (detector.metadata, len(detector.detect([b"x"])[0].scores)) == ({}, 0)


def test_a_saved_model_with_other_outputs_is_refused_with_their_names(tmp_path):
    folder = foreign(tmp_path / "foreign", ("boxes", "scores"))
    with pytest.raises(SavedModelError, match=f"{folder}: its signature serving_default has no classes, count"):
        Detector(folder)


def test_a_saved_model_with_another_input_is_refused(tmp_path):
    with pytest.raises(SavedModelError, match="its signature serving_default has no image"):
        Detector(foreign(tmp_path / "foreign", input_name="photograph"))


def test_metadata_that_cannot_be_read_are_an_error_with_their_file(tmp_path):
    folder = foreign(tmp_path / "foreign")
    (folder / METADATA).parent.mkdir()
    (folder / METADATA).write_text("{")
    with pytest.raises(SavedModelError, match=f"{folder / METADATA}: cannot be read"):
        Detector(folder)
