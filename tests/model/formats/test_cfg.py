"""Darknet's cfg: what is understood is read as darknet reads it, everything else is an error with file and line."""
from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.architecture import Architecture, Convolutional, MaxPool, Route, Shortcut, Yolo
from model.formats.cfg import CfgError, read_cfg
from tests import real_data
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
    "training lines twice": lambda text: text.replace("[net]", "[net]\nbatch=1\npolicy=steps\nbatch=64\npolicy=sgdr"),
    "comment behind a number": lambda text: text.replace("filters=8", "filters=8 # 3*(classes+5)"),
    "other comments behind numbers": lambda text: text.replace("filters=8", "filters=8; was 16").replace(
        "width=32", "width=32 // pixels, not more"),
    "comment behind anchors": lambda text: text.replace("10,10", "10,10 # small, large"),
    "comment behind a mask": lambda text: text.replace("mask=0", "mask=0 #0,1,2"),
    "comment behind a section": lambda text: text.replace("[yolo]", "[yolo] # the head"),
    "comma behind the anchors": lambda text: text.replace("10,10", "10,10,"),
    "more anchors than num": lambda text: text.replace("10,10", "10,10, 20,20"),
    "GBK": lambda text: text.encode().replace(b"[net]", b"[net]\n# \xd1\xb5\xc1\xb7\xb2\xce\xca\xfd"),
    "Latin-1": lambda text: text.encode().replace(b"channels=3", b"channels=3 # f\xfcr\xa0\x85"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "line ends of old Macs": lambda text: text.replace("\n", "\r"),
    "no end of the last line": lambda text: text.rstrip(),
    "shorter name of convolutional": lambda text: text.replace("[convolutional]", "[conv]"),
    "strides by axis": lambda text: text.replace("stride=1", "stride_x=1\nstride_y=1"),
    "a plus sign": lambda text: text.replace("filters=8", "filters=+8"),
    "features that are off": lambda text: text.replace("filters=8", "filters=8\nantialiasing=0\nxnor=0\nbinary = 0"),
    "dilation of one pixel": lambda text: text.replace("filters=6", "filters=6\ndilation=4"),
    "keys of training": lambda text: text.replace("[net]", "[net]\nsgdr_cycle=1000\nadam=1\nB1=0.9").replace(
        "pad=1", "pad=1\ntrain_only_bn=1\nlearning_rate=0.1\ndont_update=1\nassisted_excitation=4000") + "map=a.map\n",
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_what_means_the_same_reads_the_same(cfg, variant):
    text = cfg_text(CONV)
    assert read_cfg(cfg(variant(text), "variant.cfg")) == read_cfg(cfg(text))


# Each replaces a piece of the text; lines count from 1, [net] first.
BAD_LINES = {
    "unknown key": ("pad=1\nactivation=mish", "tilt=2\nactivation=mish", 10, "`tilt=2` is not known"),
    "unknown key in net": ("channels=3", "channels=3\nrotate=1", 5, "`rotate=1` is not known"),
    "key of another section": ("num=1", "num=1\nfilters=3", 23, "`filters=3` is not known"),
    "unknown layer": ("[convolutional]\nb", "[crnn]\nb", 5, "is not a supported layer"),
    "unknown activation": ("=mish", "=plse", 11, "`activation=plse` must be one of: leaky"),
    "not a number": ("filters=8", "filters=many", 7, "`filters=many` must be a whole number"),
    "empty number": ("filters=8", "filters=", 7, "`filters=` must be a whole number"),
    "fraction of a filter": ("filters=8", "filters=8.5", 7, "`filters=8.5` must be a whole number"),
    "no filter": ("filters=8", "filters=0", 7, "`filters=0` must be between 1 and"),
    "no stride": ("stride=1\npad=1\nactivation=mish", "stride=0\nactivation=mish", 9, "`stride=0` must be between 1"),
    "no width": ("width=32", "width=0", 2, "`width=0` must be between 1 and"),
    "missing width": ("width=32\n", "", 1, "has no `width=`"),
    "four channels": ("channels=3", "channels=4", 4, "must be 3 (RGB)"),
    "missing anchors": ("anchors=10,10\n", "", 18, "has no `anchors=`"),
    "odd anchors": ("10,10", "10,10,3", 18, "has 3 anchor numbers, must have two for each of num=1"),
    "anchors against num": ("num=1", "num=2", 18, "has 2 anchor numbers, must have two for each of num=2"),
    "anchors in words": ("10,10", "10,ten", 20, "`anchors=10,ten` must be a list of numbers"),
    "anchors without end": ("10,10", "10,inf", 20, "`anchors=10,inf` must be a list of numbers"),
    "anchor of no size": ("10,10", "10,0", 20, "`anchors=10,0` must have sides longer than 0"),
    "mask beyond the anchors": ("mask=0", "mask=1", 19, "`mask=1` must have indexes between 0 and 0"),
    "negative mask": ("mask=0", "mask=-1", 19, "`mask=-1` must have indexes between 0 and 0"),
    "scale that is not a number": ("num=1", "num=1\nscale_x_y=nan", 23, "`scale_x_y=nan` must be a finite number"),
    "contradiction": ("filters=8", "filters=8\nfilters=16", 8, "`filters=16` contradicts line 7"),
    "neither section nor key": ("filters=8", "filters 8", 7, "`filters8` must be a [section] or key=value"),
    "contradiction of a list": ("anchors=10,10", "anchors=10,10\nanchors=5,5", 21, "contradicts line 20; keep one"),
    "comment behind a word": ("=mish", "=mish # was leaky", 11, "has a comment, which darknet reads as part"),
    "comma in a comment": ("[yolo]", "[route]\nlayers=-1 # a, b\n[yolo]", 19, "has a comment with a comma"),
    "comma that darknet reads as layer 0": ("[yolo]", "[route]\nlayers=-1,\n[yolo]", 19, "must be a list of numbers"),
    "digits of another script": ("filters=8", "filters=٣", 7, "must be a whole number"),
    "strides that differ": ("stride=1", "stride_x=2\nstride_y=1", 5, "`stride_x=2` and `stride_y=1` must be equal"),
    "antialiasing": ("pad=1", "pad=1\nantialiasing=1", 11, "`antialiasing=1` is not supported: must be antialiasing=0"),
    "binary weights": ("pad=1", "pad=1\nxnor=1", 11, "`xnor=1` is not supported: must be xnor=0"),
    "weights that are not loaded": ("pad=1", "pad=1\ndontload=1", 11, "`dontload=1` is not supported"),
    "dilation that halves": ("size=3\nstride=1", "size=3\nstride=2\ndilation=2", 10, "only with an odd size, pad=1"),
    "weighted shortcut": ("[yolo]", "[shortcut]\nfrom=-1\nweights_type=per_channel\n[yolo]", 20, "must be one of: n"),
    "scaled enlargement": ("[yolo]", "[upsample]\nscale=2\n[yolo]", 19, "`scale=2` is not supported: must be scale=1"),
    "YOLOv2's head": ("[yolo]", "[region]", 18, "is not a supported layer; it is YOLOv2's head; train"),
    "Gaussian head": ("[yolo]", "[Gaussian_yolo]", 18, "[Gaussian_yolo] is not a supported layer; its"),
    "upper case": ("[yolo]", "[Yolo]", 18, "[Yolo] is not a supported layer; must be one of: "),
    "section without its end": ("[yolo]", "[yolo", 18, "`[yolo` must be a [section] or key=value"),
    "filters beyond 32 bits": ("filters=8", f"filters={2**31}", 7, "and 2,147,483,647"),
    "filters beyond 64 bits": ("filters=8", f"filters={'9' * 30}", 7, "and 2,147,483,647"),
    "negative filters": ("filters=8", "filters=-8", 7, "`filters=-8` must be between 1 and"),
    "window beyond any image": ("size=3", "size=100000", 8, "`size=100000` must be between 1 and 255"),
    "an image of a thousand million pixels": ("width=32", "width=40000", 2, "must be between 1 and 16,384"),
    "inputs that are not the image": ("channels=3", "channels=3\ninputs=100", 5, "`inputs=100` must be 32 x 32 x 3"),
    "a list without end": ("10,10", "1," * 2000 + "1", 20, "has 2,001 numbers, must have at most 1,024"),
    "a head that reads a head": ("[yolo]", "[yolo]\nanchors=9,9\nclasses=1\n[conv]\nfilters=6\n[yolo]", 21,
                                 "layer 3 (convolutional): reads layer 2 (yolo), which has no output map"),
    "a head that reads a loss": ("[yolo]", "[cost]\n[yolo]", 19, "layer 3 (yolo): reads layer 2 (loss)"),
    "route into the future": ("[convolutional]\nb", "[route]\nlayers=3\n[convolutional]\nb", 5, "refers to layer 3"),
    "route before the start": ("[convolutional]\nb", "[route]\nlayers=-1\n[convolutional]\nb", 5, "refers to layer -1"),
    "route without layers": ("[convolutional]\nb", "[route]\n[convolutional]\nb", 5, "has no `layers=`"),
    "route to no layer": ("[convolutional]\nb", "[route]\nlayers=,\n[convolutional]\nb", 6, "must be a list of"),
    "scaled by two layers": ("[yolo]", "[scale_channels]\nfrom=-1,-2\n[yolo]", 19, "must name one layer"),
}


@pytest.mark.parametrize("old, new, line, message", BAD_LINES.values(), ids=BAD_LINES)
def test_what_is_not_understood_is_an_error_with_file_and_line(cfg, old, new, line, message):
    text = cfg_text(CONV)
    assert text.count(old) >= 1, f"the sample has no {old!r}"
    path = cfg(text.replace(old, new, 1))  # each names where, what and, where it is not plain, what to do
    error = refused(path)
    assert error.startswith(f"{path}:{line}: ") and message in error, error


BAD_FILES = {
    "empty": (b"", "must start with [net]"),
    "only comments": (b"# nothing\n", "must start with [net]"),
    "another cfg": (b"[metadata]\nname = model\n", "must start with [net]"),
    "prose": (b"This is a text.\n", "`Thisisatext.` must be a [section] or key=value"),
    "binary": (b"\xff\xd8\xff\xe0\x00\x10JFIF", ":1: has a NUL byte, so it is not a cfg file"),
    "net alone": (b"[net]\nwidth=32\nheight=32\n", "has no yolo layer"),
    "size": (cfg_text("[convolutional]\nsize=40").encode(), ":5: layer 0 (convolutional): is larger than its input"),
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


# What case each file stands for: numbers in its weights file and the size of its head.
CASES = {
    "cfg-batch-twice": (7165, (2, 2, 21)),
    "cfg-inline-comment": (7165, (2, 2, 21)),
    "cfg-latin1-gbk": (7165, (2, 2, 21)),
    "cfg-training-keys": (7165, (2, 2, 21)),
    "cfg-conv-after-last-yolo": (7233, (2, 2, 21)),
    "cfg-size-no-multiple": (7165, (3, 3, 21)),
    "cfg-shortcut-channels": (7813, (2, 2, 21)),
}


@pytest.mark.parametrize("name, parameters, head", [(name, *row) for name, row in CASES.items()], ids=CASES)
def test_what_people_have_is_read(real, name, parameters, head):
    architecture = read_cfg(real / "cases" / name / "case.cfg")
    heads = [shape for shape, layer in zip(architecture.shapes(), architecture.layers) if isinstance(layer, Yolo)]
    assert (architecture.parameters(), heads) == (parameters, [head])


def test_a_file_that_is_too_large_is_refused_by_its_size(cfg):
    path = cfg(cfg_text())
    with open(path, "r+b") as file:
        file.truncate(1_000_000_000)
    assert refused(path) == f"{path}: has 1,000,000,000 bytes, must have at most 1,000,000 for a cfg file"


def test_too_many_layers_are_refused(cfg):
    path = cfg("[net]\nwidth=32\nheight=32\n" + "[conv]\n" * 100_000)
    assert refused(path) == f"{path}: has 100,000 layers, must have at most 4,096"


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.cfg")
    assert refused(tmp_path / "pipe.cfg").endswith("cannot be read as a cfg file: it is not a regular file")


# Each puts what a terminal or a CI log would obey, or what floods it, into another place of a message.
HOSTILE = {
    "section": cfg_text("[\x1b]0;title\x07]"),
    "key": cfg_text(f"{CONV}\n\x1b[2J\x1b[32mPASS=1"),
    "value": cfg_text(f"{CONV}\nsize=\x1b[2J"),
    "line": cfg_text("\x1b]0;title\x07\x1b[2J"),
    "word": cfg_text("[convolutional]\nactivation=\x9b2J\u202e\u2028::error::"),
    "workflow command": cfg_text("::error::all is well\x0b::set-output name=a::1"),
    "long value": cfg_text("[convolutional]\nfilters=" + "9" * 100_000),
    "long word": cfg_text("[convolutional]\nactivation=" + "\x1b" * 100_000),
    "long key": cfg_text("[convolutional]\n" + "k" * 100_000 + "=1"),
    "long section": cfg_text("[" + "s" * 100_000 + "]"),
    "long line": cfg_text("l" * 100_000),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_values_of_a_file_reach_a_message_escaped_and_cut(cfg, text):
    assert_fit_for_a_terminal(refused(cfg(text)))


def test_what_a_terminal_obeys_is_shown_escaped(real):
    message = refused(real / "cases/hostile/injection-cfg/ansi.cfg")
    assert r"ansi.cfg:4: `\x1b]0;title\x07\x1b[2J\x1b[32mPASS\x1b[0m` must be a [section]" in message


def assert_fit_for_a_terminal(message: str) -> None:
    """One printable line without a workflow command, of a length that a person reads."""
    assert message.isprintable() and not message.startswith("::") and len(message) <= 500, message


def architecture_or_cfg_error(content: bytes) -> None:
    """Fails with whatever else comes out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.cfg")
        path.write_bytes(content)
        try:
            assert isinstance(read_cfg(path), Architecture)
        except CfgError as error:
            assert str(error).startswith(str(path))
            assert_fit_for_a_terminal(str(error))


MUTATIONS = (
    lambda text, i, rng: text[:i] + bytes([rng.randrange(256)]) + text[i + 1:],
    lambda text, i, rng: text[:i] + text[i + rng.randrange(1, 40):],
    lambda text, i, rng: text[:i] + text[i:i + 40] * rng.randrange(2, 5) + text[i + 40:],
    lambda text, i, rng: text[:i] + rng.choice(PIECES) + text[i:],
)
PIECES = [b"\x1b[2J", b"\n::error::", b"\0", b"\xff\xfe", b"9" * 5000, b"[", b"=", b"#", b",", b"-", b"[yolo]\n", b"\r",
          b"\n[route]\nlayers=-1,-1\n", b"[net]", b"999999999", b"1e99", b"\xe2\x80\xae"]


def test_any_mutant_of_a_cfg_is_an_architecture_or_a_cfg_error(real):
    """A sample of the 3,000 that `python -m tests.model.formats.test_cfg` tries on every real cfg file."""
    mutants(real / "darknet/yolov4-tiny.cfg", 300, seed=1)


def mutants(path, count, seed) -> None:
    rng, original = random.Random(seed), path.read_bytes()
    for _ in range(count):
        text = original
        for _ in range(rng.randrange(1, 5)):
            text = rng.choice(MUTATIONS)(text, rng.randrange(len(text) + 1), rng)
        architecture_or_cfg_error(text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_an_architecture_or_a_cfg_error(content):
    architecture_or_cfg_error(content)


KEYS = [
    "width", "height", "channels", "letter_box", "batch_normalize", "filters", "size", "stride", "pad", "padding",
    "groups", "activation", "layers", "group_id", "from", "anchors", "mask", "num", "classes", "scale_x_y",
    "new_coords", "dilation", "stride_x", "stride_y", "weights_type", "inputs",
]
SECTIONS = ["net", "convolutional", "route", "shortcut", "maxpool", "upsample", "dropout", "yolo", "crop", "conv",
            "avgpool", "scale_channels", "sam", "local_avgpool", "reorg3d", "activation", "empty", "contrastive"]
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


if __name__ == "__main__":
    for number, path in enumerate(sorted(real_data.PLACE.rglob("*.cfg"))):
        mutants(path, 3000, number)
        print(path.name, "3,000 mutants: an architecture or one sentence each")
