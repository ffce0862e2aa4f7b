"""Darknet's cfg: what is understood is read as darknet reads it, everything else is an error with file and line."""
from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.architecture import Architecture, Convolutional, MaxPool, Route, Shortcut, Yolo
from model.darknet import CfgError, read_cfg
from tests.model.samples import cfg_text

CONV = "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=mish"


def refused(path) -> str:
    with pytest.raises(CfgError) as caught:
        read_cfg(path)
    return str(caught.value)


def test_records_hold_what_the_text_says(cfg):
    assert read_cfg(cfg(cfg_text(CONV))).layers[0] == Convolutional(8, 3, 1, 1, 1, True, "mish")


DEFAULTS = {
    "convolutional": ("[convolutional]", Convolutional(1, 1, 1, 0, 1, False, "logistic")),
    "padding in pixels": ("[convolutional]\nsize=3\npadding=1", Convolutional(1, 3, 1, 1, 1, False, "logistic")),
    "pad wins over padding": ("[convolutional]\nsize=5\npadding=1\npad=1",
                              Convolutional(1, 5, 1, 2, 1, False, "logistic")),
    "maxpool": ("[maxpool]\nsize=3", MaxPool(3, 1, 2)),
    "maxpool by stride alone": ("[maxpool]\nstride=2", MaxPool(2, 2, 1)),
    "shortcut": (CONV + "\n" + CONV + "\n[shortcut]\nfrom=-2", Shortcut(0, "linear")),
    "route": (CONV + "\n" + CONV + "\n[route]\nlayers=-1, 0", Route((1, 0), 1, 0)),
}


@pytest.mark.parametrize("section, record", DEFAULTS.values(), ids=DEFAULTS)
def test_what_is_left_out_takes_darknets_default(cfg, section, record):
    assert read_cfg(cfg(cfg_text(section))).layers[-3] == record


def test_mask_chooses_anchors(cfg):
    text = cfg_text().replace("anchors=10,10", "anchors = 1,2, 3,4, 5,6").replace("mask=0", "mask=1")
    assert read_cfg(cfg(text.replace("num=1", "num=3"))).heads[0].anchors == ((3, 4),)


def test_scale_and_new_coordinates_are_read(cfg):
    text = cfg_text() + "scale_x_y = 1.05\nnew_coords=1\n"
    assert read_cfg(cfg(text)).heads == [Yolo(((10, 10),), 1, 1.05, True)]


@pytest.mark.parametrize("line, expected", {"": False, "letter_box=0": False, "letter_box=1": True}.items(), ids=repr)
def test_letterboxed_training_is_read(cfg, line, expected):
    assert read_cfg(cfg(cfg_text(net=line))).letterbox is expected


VARIANTS = {
    "comments": lambda text: "# first\n; second\n" + text.replace("\n[", "\n# between\n["),
    "spaces": lambda text: text.replace("=", "  = ").replace("\n", "  \n\t"),
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "byte order mark": lambda text: "\ufeff" + text,
    "other name of net": lambda text: text.replace("[net]", "[network]"),
    "training keys": lambda text: text.replace("height", "learning_rate=0.1\nsteps=1,2\nheight") + "ignore_thresh=.7",
    "the same line twice": lambda text: text.replace("width=32", "width=32\nwidth=32"),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_what_means_the_same_reads_the_same(cfg, variant):
    text = cfg_text(CONV)
    assert read_cfg(cfg(variant(text), "variant.cfg")) == read_cfg(cfg(text))


# Each replaces a piece of the text; lines count from 1, [net] first.
BAD_LINES = {
    "unknown key": ("pad=1\nactivation=mish", "tilt=2\nactivation=mish", 10, "`tilt=2` is not understood"),
    "unknown key in net": ("channels=3", "channels=3\nrotate=1", 5, "`rotate=1` is not understood"),
    "key of another section": ("num=1", "num=1\nfilters=3", 23, "`filters=3` is not understood"),
    "unknown layer": ("[convolutional]\nb", "[crnn]\nb", 5, "layers of this kind are not supported"),
    "unknown activation": ("=mish", "=plse", 11, "`activation=plse` is not supported"),
    "not a number": ("filters=8", "filters=many", 7, "`filters=many` is not a number"),
    "empty number": ("filters=8", "filters=", 7, "`filters=` is not a number"),
    "fraction of a filter": ("filters=8", "filters=8.5", 7, "`filters=8.5` is not a number"),
    "no filter": ("filters=8", "filters=0", 7, "`filters=0` is less than 1"),
    "no stride": ("stride=1\npad=1\nactivation=mish", "stride=0\nactivation=mish", 9, "`stride=0` is less than 1"),
    "no width": ("width=32", "width=0", 2, "`width=0` is less than 1"),
    "missing width": ("width=32\n", "", 1, "lacks `width=`"),
    "four channels": ("channels=3", "channels=4", 4, "only 3 channels"),
    "missing anchors": ("anchors=10,10\n", "", 18, "lacks `anchors=`"),
    "odd anchors": ("10,10", "10,10,3", 18, "has 3 anchor numbers, which is not two for each of num=1"),
    "anchors against num": ("num=1", "num=2", 18, "has 2 anchor numbers, which is not two for each of num=2"),
    "anchors in words": ("10,10", "10,ten", 20, "`anchors=10,ten` is not a list of numbers"),
    "anchors without end": ("10,10", "10,inf", 20, "`anchors=10,inf` is not a list of numbers"),
    "anchor of no size": ("10,10", "10,0", 20, "`anchors=10,0` holds a side that is not longer than 0"),
    "mask beyond the anchors": ("mask=0", "mask=1", 19, "`mask=1` names an anchor that is not among the 1"),
    "negative mask": ("mask=0", "mask=-1", 19, "`mask=-1` names an anchor that is not among the 1"),
    "scale that is no number": ("num=1", "num=1\nscale_x_y=nan", 23, "`scale_x_y=nan` is not a number"),
    "contradiction": ("filters=8", "filters=8\nfilters=16", 8, "`filters=16` contradicts line 7"),
    "neither section nor key": ("filters=8", "filters 8", 7, "`filters8` is neither a [section] nor key=value"),
    "route into the future": ("[convolutional]\nb", "[route]\nlayers=3\n[convolutional]\nb", 5, "refers to layer 3"),
    "route before the start": ("[convolutional]\nb", "[route]\nlayers=-1\n[convolutional]\nb", 5, "refers to layer -1"),
    "route without layers": ("[convolutional]\nb", "[route]\n[convolutional]\nb", 5, "lacks `layers=`"),
    "route to no layer": ("[convolutional]\nb", "[route]\nlayers=,\n[convolutional]\nb", 6, "is not a list of numbers"),
    "scaled by two layers": ("[yolo]", "[scale_channels]\nfrom=-1,-2\n[yolo]", 19, "must name one layer"),
}


@pytest.mark.parametrize("old, new, line, message", BAD_LINES.values(), ids=BAD_LINES)
def test_what_is_not_understood_is_an_error_with_file_and_line(cfg, old, new, line, message):
    text = cfg_text(CONV)
    assert text.count(old) >= 1, f"the sample has no {old!r}"
    path = cfg(text.replace(old, new, 1))
    error = refused(path)
    assert error.startswith(f"{path}:{line}: ") and message in error, error


BAD_FILES = {
    "empty": (b"", "does not begin with [net]"),
    "only comments": (b"# nothing\n", "does not begin with [net]"),
    "another cfg": (b"[metadata]\nname = model\n", "does not begin with [net]"),
    "prose": (b"This is a text.\n", "`Thisisatext.` is neither a [section] nor key=value"),
    "binary": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "cannot be read as a cfg file"),
    "net alone": (b"[net]\nwidth=32\nheight=32\n", "has no yolo layer"),
    "size": (cfg_text("[convolutional]\nstride=64").encode(), "the input size 32x32 is not between"),
    "filters of yolo": (cfg_text().replace("classes=1", "classes=2").encode(), "layer 1 (yolo): 1 anchors and 2"),
}


@pytest.mark.parametrize("content, message", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_describes_no_network_is_named(cfg, content, message):
    path = cfg(content)
    error = refused(path)
    assert str(path) in error and message in error, error


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "no.cfg") == f"{tmp_path / 'no.cfg'}: there is no such cfg file"


def test_a_folder_is_not_a_cfg(tmp_path):
    assert f"{tmp_path}: cannot be read as a cfg file" in refused(tmp_path)


def architecture_or_cfg_error(content: bytes) -> None:
    """Fails with whatever else comes out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.cfg")
        path.write_bytes(content)
        try:
            assert isinstance(read_cfg(path), Architecture)
        except CfgError as error:
            assert str(error).startswith(str(path))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_an_architecture_or_a_cfg_error(content):
    architecture_or_cfg_error(content)


KEYS = [
    "width", "height", "channels", "letter_box", "batch_normalize", "filters", "size", "stride", "pad", "padding",
    "groups", "activation", "layers", "group_id", "from", "anchors", "mask", "num", "classes", "scale_x_y",
    "new_coords",
]
SECTIONS = ["net", "convolutional", "route", "shortcut", "maxpool", "upsample", "dropout", "yolo", "crop"]
ODD = ["", "0", "1", "2", "-1", "10,10", "-1,-2", "mish", "nan", "-inf", "1e999", "٣", "=", "[", "\x0b", "\u2028"]
VALUES = st.sampled_from([*ODD, "9" * 30, "9" * 5000]) | st.integers().map(str) | st.floats().map(str)
LINES = st.sampled_from(SECTIONS).map("[{}]".format) | st.builds("{}={}".format, st.sampled_from(KEYS), VALUES)


@given(st.lists(LINES, max_size=12))
@example(["[convolutional]", "filters=" + "9" * 30])
@example(["[upsample]", "stride=99999", "[upsample]", "stride=99999"])
@example(["[convolutional]", "size=40", "[maxpool]", "size=2"])
@example(["[route]", "layers=0"] + ["[route]", "layers=-1,-1"] * 2000)
def test_any_lines_of_darknets_words_are_an_architecture_or_a_cfg_error(lines):
    architecture_or_cfg_error(cfg_text("\n".join(lines)).encode())
