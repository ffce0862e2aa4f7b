"""Detections drawn onto the picture they were found in."""
from __future__ import annotations

import colorsys
import io

from PIL import Image, ImageDraw, ImageFont


def draw(encoded: bytes, detections, names=(), score_threshold=0.25) -> Image.Image:
    """The decoded picture (RGB) with a box and `name score` for every detection at or above the threshold.

    Colours are one per class; lines and letters grow with the picture.
    """
    picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(max(11, round(min(picture.size) / 36)))
    shown = [row for row in zip(detections.boxes, detections.scores, detections.classes) if row[1] >= score_threshold]
    for box, score, label in reversed(shown):
        colour = _colour(int(label))
        canvas.rectangle(box.tolist(), outline=colour, width=line)
        _label(canvas, box, f"{class_name(names, label)} {score:.2f}", colour, font)
    return picture


def class_name(names, label) -> str:
    """The class's name, or its index where the detector has no names."""
    return names[label] if label < len(names) else f"class {label}"


def _label(canvas, box, text, colour, font) -> None:
    """The text on a plate of the box's colour, above the box where there is room, always inside the picture."""
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = max(0, min(float(box[0]), canvas.im.size[0] - width))
    y = float(box[1]) - height if box[1] >= height else min(float(box[1]), canvas.im.size[1] - height)
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    canvas.text((x + 3 - left, y + 3 - top), text, fill="black" if brightness > 140 else "white", font=font)


def _colour(label: int) -> tuple:
    """Well apart for neighbouring classes: the golden ratio walks round the circle of hues."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618 % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
