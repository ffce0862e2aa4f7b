"""Decoding profiles: pre- and post-processing settings (resize, score, NMS) by name, in one table."""
from __future__ import annotations

from dataclasses import dataclass, replace

from model.architecture import Architecture
from model.image_headers import MAX_PIXELS

RESIZE = ("stretch", "letterbox")


class ProfileError(ValueError):
    """A setting has an impossible value. The message starts with the setting's name, such as `score_threshold`."""


@dataclass(frozen=True)
class Profile:
    """Pre- and post-processing settings. They change the results, so they are part of the exported model.

    NMS is greedy per class: a box is dropped if its IoU with a better one exceeds `iou_threshold`, or with `diou_beta`
    if IoU − (d / c)^beta does, where d is the squared distance of the centres and c the squared diagonal of both boxes
    (Zheng et al., "Distance-IoU Loss", 2020; the exponent is darknet's beta_nms). `centre_scale`, if not None, replaces
    the scale_x_y of the heads. An image that declares more than `max_pixels` is rejected before it is decoded.
    """

    name: str = "darknet"
    resize: str = "stretch"
    score_threshold: float = 0.001
    iou_threshold: float = 0.45
    diou_beta: float | None = None
    centre_scale: float | None = None
    max_detections: int = 100
    max_pixels: int = MAX_PIXELS

    def __post_init__(self):
        if self.resize not in RESIZE:
            raise ProfileError(f"resize {self.resize}: must be one of: {', '.join(RESIZE)}")
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ProfileError(f"{name} {getattr(self, name)}: must be between 0 and 1")
        if self.max_pixels < 1:
            raise ProfileError(f"max_pixels {self.max_pixels}: must be at least 1")

    def __str__(self):
        centre = "" if self.centre_scale is None else f"centre scale {self.centre_scale:g}, "
        nms = "greedy NMS" if self.diou_beta is None else f"DIoU-NMS (beta {self.diou_beta:g})"
        return f"{self.name}: {self.resize}, {centre}{nms} {self.iou_threshold:g}, score {self.score_threshold:g}"


# Name → description, and the profile for an architecture.
PROFILES = {
    "darknet": (
        "the cfg's own settings, as the weights were trained",
        lambda a: Profile("darknet", "letterbox" if a.letterbox else "stretch", diou_beta=a.diou_beta),
    ),
    "aws": (
        "the AWS tutorial's 0.487 AP: stretched, centre scale 1",
        lambda a: Profile("aws", centre_scale=1.0),
    ),
    "letterbox-diou": (
        "Open Model Zoo's 0.5026 AP of the same weights: letterboxed, DIoU-NMS 0.5",
        lambda a: Profile("letterbox-diou", "letterbox", iou_threshold=0.5, diou_beta=1.0),
    ),
}
DEFAULT = "darknet"


def profile_for(architecture: Architecture, name: str = DEFAULT, **changes) -> Profile:
    """The named profile for an architecture, with the changes that are not None. Raises ProfileError."""
    if name not in PROFILES:
        raise ProfileError(f"profile {name}: must be one of: {', '.join(PROFILES)}")
    if name == "aws" and architecture.heads[0].new_coords:
        raise ProfileError("profile aws: is for YOLOv4's own heads, this cfg's have new_coords; use another profile")
    _, profile = PROFILES[name]
    return replace(profile(architecture), **{key: value for key, value in changes.items() if value is not None})
