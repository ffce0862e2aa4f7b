"""How a detector looks at pictures and which boxes it reports."""
from __future__ import annotations

from dataclasses import dataclass

RESIZE = ("stretch", "letterbox")


class ProfileError(ValueError):
    """A value that makes no sense; the message names the option."""


@dataclass(frozen=True)
class Profile:
    """Part of what is measured, and so part of the exported model and of every result.

    The default is AWS's published run (score 0.001, IoU 0.45, stretched), with the weights' own scale_x_y.
    """

    resize: str = "stretch"
    score_threshold: float = 0.001
    iou_threshold: float = 0.45
    max_detections: int = 100

    def __post_init__(self):
        if self.resize not in RESIZE:
            raise ProfileError(f"--resize {self.resize} is not one of: {', '.join(RESIZE)}")
        for option in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, option) <= 1:
                raise ProfileError(f"--{option.replace('_', '-')} {getattr(self, option)} is not between 0 and 1")
