"""Reads the headers of encoded images: kind, size, and whether the image can be decoded.

A few hundred bytes may declare an image of gigabytes, so the declared size is checked before a decoder sees it.
Runs on Python 3.7 and needs only the standard library.
"""
from __future__ import annotations

import re
import struct
from typing import NamedTuple

READ = "JPEG, PNG, BMP or GIF"
MAX_PIXELS = 100_000_000  # 1.5 GB while it is decoded and resized; most cameras and phones stay below

# JPEG markers: start of scan, end of image; markers without a length.
SCAN, END = 0xDA, b"\xff\xd9"
ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ARITHMETIC = set(range(0xC9, 0xD0))
MASKS = (0xFF0000, 0xFF00, 0xFF)  # of a BMP with blue, green and red in a byte each


class Header(NamedTuple):
    """What an image declares: `kind` in words, width and height in pixels as stored (0 if unknown).

    `fault` is why it cannot be decoded and what to do, or ''.
    """

    kind: str
    width: int = 0
    height: int = 0
    fault: str = ""


def fault(encoded: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Why the detector rejects this image, and what to do; '' if it decodes it."""
    if not encoded:
        return "is empty (0 bytes)"
    header = read_header(encoded)
    why = _too_large(header, max_pixels) or header.fault
    return f"({len(encoded):,} bytes) cannot be decoded: it is {_described(header)}{why}" if why else ""


def read_header(encoded: bytes) -> Header:
    """The header of an image; `kind` is '' if it is not known."""
    for start, kind, read in READERS:
        if encoded.startswith(start):
            try:
                return read(encoded)
            except (struct.error, IndexError):
                return Header(kind, fault=f" and is cut short within its header; {RESTORE}")
    for pattern, kind, remedy in NOT_READ:
        if re.match(pattern, encoded[:200].lstrip(), re.IGNORECASE | re.DOTALL):
            return Header(kind, fault=remedy)
    return Header("", fault=CONVERT)


RESTORE = "restore the file"
CONVERT = "; convert it to JPEG or PNG"


def _described(header: Header) -> str:
    if not header.kind:
        return f"not an image in a supported format ({READ})"
    if not (header.width or header.height):
        return header.kind
    return f"{header.kind} and declares {header.width:,} x {header.height:,} pixels"


def _too_large(header: Header, max_pixels: int) -> str:
    if header.fault == CONVERT or header.width * header.height <= max_pixels:
        return ""
    return f", more than the limit of {max_pixels:,} (max_pixels); make it smaller or raise the limit"


def _jpeg(encoded: bytes) -> Header:
    width = height = scan = 0
    needs_data = True
    for marker, start, end in _segments(encoded):
        if marker in FRAMES and not width:
            height, width = struct.unpack_from(">HH", encoded, start + 1)
            needs_data = marker not in ARITHMETIC
        if marker == SCAN:
            scan = end
    header = Header("a JPEG", width, height)
    last = encoded.rfind(END, scan) if scan else -1
    if last < 0:
        return header._replace(fault=f" and is cut short: its end is missing; {RESTORE}")
    if not (width and height):
        return header._replace(fault=f", which is not a size; {RESTORE}")
    # Huffman codes spend at least one bit on each block of 8 x 8 pixels.
    if needs_data and (last - scan) * 8 < -(-width // 8) * -(-height // 8):
        return header._replace(fault=f" and is cut short: {last - scan:,} bytes of data cannot hold them; {RESTORE}")
    return header


def _segments(encoded: bytes):
    """(marker, start and end of its data) of each segment of a JPEG up to the first scan."""
    position = encoded.find(b"\xff", 2)
    while 0 <= position < len(encoded) - 3:
        marker = encoded[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = 0 if marker in ALONE else struct.unpack_from(">H", encoded, position + 2)[0]
        if length:
            yield marker, position + 4, position + 2 + length
        if marker == SCAN:
            return
        position = encoded.find(b"\xff", position + 2 + length)


def _png(encoded: bytes) -> Header:
    width, height = struct.unpack_from(">II", encoded, 16)
    header = Header("a PNG", width, height)
    position = 8
    while position <= len(encoded) - 8:
        length, name = struct.unpack_from(">I4s", encoded, position)
        position += 12 + length  # the end of the chunk
        if name == b"IEND" and position <= len(encoded):
            return header if width and height else header._replace(fault=f", which is not a size; {RESTORE}")
    return header._replace(fault=f" and is cut short: its end is missing; {RESTORE}")


def _gif(encoded: bytes) -> Header:
    screen = struct.unpack_from("<HH", encoded, 6)
    sizes = list(_gif_frames(encoded))
    # A frame may be larger than the screen that it is shown on, and is what the decoder makes room for.
    header = Header("a GIF", *max([screen, *sizes], key=lambda size: size[0] * size[1]))
    if not sizes:
        return header._replace(fault=f" and is cut short: it has no whole frame; {RESTORE}")
    if len(sizes) > 1:
        return header._replace(fault=f" in {len(sizes):,} frames; save one frame as JPEG or PNG")
    return header


def _gif_frames(encoded: bytes):
    """Width and height of each whole frame of a GIF."""
    position = 13 + _palette(encoded[10])
    while position < len(encoded):
        block = encoded[position]
        if block == 0x2C:
            size = struct.unpack_from("<HH", encoded, position + 5)
            position += 11 + _palette(encoded[position + 9])
        elif block == 0x21:
            size, position = None, position + 2
        else:
            return
        while position < len(encoded) and encoded[position]:
            position += 1 + encoded[position]
        if size and position < len(encoded):
            yield size
        position += 1


def _palette(flags: int) -> int:
    """Bytes of the colour table that these flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _bmp(encoded: bytes) -> Header:
    start, information = struct.unpack_from("<II", encoded, 10)
    if information < 40:
        return Header("a BMP of OS/2", fault=CONVERT)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", encoded, 18)
    header = Header("a BMP", abs(width), abs(height))
    if bits not in (8, 24, 32) or compression not in (0, 3) or (
            compression and struct.unpack_from("<III", encoded, 54) != MASKS):
        return Header(f"a BMP of {bits} bits, packed or masked", *header[1:3], fault=CONVERT)
    if bits == 8 and not _is_grey(encoded[14 + information:start]):
        return Header("a BMP with a palette", *header[1:3], fault=CONVERT)
    if len(encoded) < start + -(-abs(width) * bits // 32) * 4 * abs(height):
        return header._replace(fault=f" and is cut short; {RESTORE}")
    return header


def _is_grey(palette: bytes) -> bool:
    """Whether a palette of 256 colours is the greys, so that indexes are brightness."""
    return len(palette) == 1024 and all(palette[4 * i:4 * i + 3] == bytes([i] * 3) for i in range(256))


# How it starts, what it is, and what reads its header.
READERS = (
    (b"\xff\xd8\xff", "a JPEG", _jpeg), (b"\x89PNG\r\n\x1a\n", "a PNG", _png), (b"GIF8", "a GIF", _gif),
    (b"BM", "a BMP", _bmp),
)
# How it starts, in either case and without leading space; what it is; what to do.
NOT_READ = (
    (rb"riff....webp", "WebP", CONVERT),
    (rb"\xff\x0a|\0\0\0\x0cjxl ", "JPEG XL", CONVERT),
    (rb"....ftypavi[fs]", "AVIF", CONVERT),
    (rb"....ftyp", "HEIC", CONVERT),
    (rb"ii\*\0|mm\0\*", "TIFF", CONVERT),
    (rb"\0\0\0\x0cjp  |\xff\x4f\xff\x51", "JPEG 2000", CONVERT),
    (rb"8bps", "a Photoshop file", CONVERT),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the image", "; fetch it by `git lfs pull`"),
    (rb"<svg", "SVG", CONVERT),
    (rb"<", "HTML or XML, as a failed download leaves it", f"; {RESTORE}"),
    (rb"%pdf", "PDF", CONVERT),
)
