"""Real detectors, photographs and inputs as people have them. They are not part of the repository: `--real-data DIR`.

Files of public repositories, unmodified but for annotation files, which are subsets of the original:

- coco/val2017, coco/annotations: 100 images of COCO val2017 and their annotations, from lizhogn/tiny_coco_dataset
  68523dd, zzowenzz/COCO_Tiny e7a689f, Obmutescence/COCO-MINI 644f29e and minto5z/coco_yolo 4715f5c
- coco/yolo-fastest-1.1-xl.*: a detector of COCO's classes, from dog-qiuqiu/Yolo-Fastest 96a2900
- retail/: a YOLOv4-tiny of 60 classes and 36 labelled photographs, from minsikky/yolov3-tiny_int8 51e655d
- darknet/: cfg files, class names and dog.jpg, from AlexeyAB/darknet 59596d7
- cases/: small inputs of kinds that people have, changed by hand, each with a README of what is right
"""
from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

VARIABLE = "REAL_DATA"
PLACE = Path(__file__).resolve().parents[2] / "shared" / "data"


def add_option(parser) -> None:
    parser.addoption(
        "--real-data", metavar="DIR", type=_existing, default=os.environ.get(VARIABLE),
        help="folder of the real detectors, photographs and inputs that some of the project's own tests need and skip "
             "without; tests/real_data.py says where they come from (default: "
             f"${VARIABLE}, else ../shared/data beside the repository)",
    )


def _existing(given: str) -> Path:
    """The folder. Raises ArgumentTypeError, because tests of a folder that was named must not be skipped unnoticed."""
    if not Path(given).is_dir():
        raise argparse.ArgumentTypeError(f"{given}: there is no such folder; leave it out to skip what needs it")
    return Path(given).resolve()


def folder(config) -> Path:
    """The folder of real material. Skips the test where there is none."""
    found = config.getoption("--real-data") or PLACE
    if not found.is_dir():
        pytest.skip(f"real material is not at {found}: give --real-data DIR (tests/real_data.py says what it holds)")
    return found
