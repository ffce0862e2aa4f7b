"""A detector that takes red for blue is known by what it finds in images whose red and blue are exchanged."""
from __future__ import annotations

import math

import pytest

from harness.accuracy.colours import LEAST, SURE, better_exchanged
from harness.accuracy.dataset import Dataset
from tests.harness import synthetic
from tests.harness.synthetic import NOTHING, all_red, is_red


@pytest.fixture
def red_dataset(tmp_path) -> Dataset:
    return all_red(tmp_path)


def finder(dataset, finds):
    """A detector that finds the objects of the images that `finds` takes."""
    right = synthetic.perfect(dataset)
    return lambda images: {image: right[image] if finds(content) else NOTHING for image, content in images}


def test_more_objects_with_exchanged_colours_are_said(red_dataset):
    detect = finder(red_dataset, lambda content: not is_red(content))
    said = better_exchanged(red_dataset, detect(red_dataset), detect)
    assert said.startswith("with red and blue exchanged in 40 images it finds 80 objects, 0 as they are: its input has")


@pytest.mark.parametrize("finds", [is_red, lambda content: True, lambda content: False])
def test_nothing_is_said_where_exchanged_colours_do_not_help(red_dataset, finds):
    detect = finder(red_dataset, finds)
    assert better_exchanged(red_dataset, detect(red_dataset), detect) == ""


@pytest.mark.parametrize("number", [10, 11, 12, 20, 50, 100, 300])
def test_chance_is_called_better_once_in_a_thousand_at_most(number):
    """Of objects that only one of both ways finds, each way has half."""
    least = max(LEAST, SURE * math.sqrt(number))
    rare = sum(math.comb(number, gained) for gained in range(number + 1) if 2 * gained - number >= least)
    assert rare / 2**number <= 1e-3


def test_a_few_more_may_be_chance(red_dataset):
    blue = set(red_dataset.image_ids[:14])
    right = synthetic.perfect(red_dataset)
    before = {image: NOTHING if image in blue else right[image] for image in right}
    after = {image: right[image] if image in blue or image % 3 else NOTHING for image in right}
    assert better_exchanged(red_dataset, before, lambda images: {image: after[image] for image, _ in images}) == ""
