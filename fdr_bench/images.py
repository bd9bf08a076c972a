"""Encoded bytes to RGB pixels, and RGB pixels to a detector's input tensor.

Decoding is Pillow's `Image.open(...).convert("RGB")`, as the official evaluation scripts do it: alpha and palette
transparency are dropped, CMYK is converted, an animation gives its first frame, and the EXIF orientation is ignored.
Geometry is torchvision's on PIL images (`torchvision.transforms.functional`), value for value.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import struct
import threading
import warnings
import zlib
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from fdr_bench.errors import ImageError
from fdr_bench.opencv_resize import resize_like_opencv
from fdr_bench.tensor_resize import resize_values
from fdr_bench.types import (
    CenterCrop,
    DecodedImage,
    DropOdd,
    FileMetadata,
    OpenCVResize,
    Reflect,
    Resize,
    TensorResize,
    Tile,
    View,
)

Step: TypeAlias = Resize | CenterCrop | Tile | DropOdd | Reflect | OpenCVResize | TensorResize

MAX_PIXELS = 178_956_970
"""More pixels than this are refused before any is allocated. It is Pillow's own hard limit (twice its warning level of
0.25 GiB of RGB), kept here as a constant so that the verdict is the same whatever the process set in Pillow."""

# Formats with a signature. Left out are those that start a program or guess: EPS and WMF render, TGA accepts noise.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI", "DDS", "PSD")

# Whatever Pillow's plugins raise on damaged bytes; MemoryError because a header can ask for any amount.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(payload: bytes, location: str) -> DecodedImage:
    """Decode one image file's bytes into 8-bit RGB without its metadata.

    `payload` is the whole file, `location` the name that messages give. Reads the bytes once; memory peaks at about
    8 bytes a pixel (decoded plus a plain copy). Threads may call it at once.
    Raises `ImageError` with the reason: no bytes, no known format, truncated or damaged, more than `MAX_PIXELS`,
    or more than 8 bits a channel in one channel, which Pillow would clip to white instead of scaling.
    """
    if not payload:
        raise ImageError(f"{location}: the file is empty (0 bytes)")
    with _pillow:
        try:
            with Image.open(io.BytesIO(payload), formats=_formats()) as opened:
                _refuse(opened, location)
                metadata = _metadata(opened, len(payload))
                pixels = opened.convert("RGB")
        except UnidentifiedImageError:
            raise ImageError(f"{location}: not an image that can be read here ({_looks_like(payload)})") from None
        except _DECODER_ERRORS as error:
            raise ImageError(f"{location}: cannot be decoded: {_reason(error)}") from error
    pixels.info = {}
    return DecodedImage(pixels=pixels, metadata=metadata, sha256=hashlib.sha256(payload).hexdigest())


def apply_view(view: View, image: Image.Image) -> NDArray[np.float32]:
    """Return the network's input for an RGB image: geometry on 8-bit pixels, then (x / 255 - mean) / std.

    Returns float32 (3, H, W), C-contiguous; every value as float32 arithmetic gives it. The order of the channels and
    the number in the place of 255 are the view's.
    """
    pixels = np.asarray(geometry(view, image))  # (H, W, 3) uint8
    if view.order == "bgr":
        pixels = pixels[:, :, ::-1]
    if view.steps and isinstance(last := view.steps[-1], TensorResize):
        values = resize_values(pixels, last.size, antialias=last.antialias)
        mean, std = np.asarray(view.mean, np.float32), np.asarray(view.std, np.float32)
        values = (values * np.float32(255 / view.divisor) - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))
    table = _normalised(view.mean, view.std, view.divisor)
    array = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
    for channel in range(3):
        # "clip" never clips here (uint8 into 256 entries): it lets NumPy write straight into `out`.
        np.take(table[channel], pixels[:, :, channel], out=array[channel], mode="clip")
    return array


def geometry(view: View, image: Image.Image) -> Image.Image:
    """Apply only the view's 8-bit steps, in order. Returns RGB; `image` itself is not changed.

    Raises `ValueError` where a `TensorResize`, which leaves 8 bits, has steps after it.
    """
    result = image if image.mode == "RGB" else image.convert("RGB")
    if any(isinstance(step, TensorResize) for step in view.steps[:-1]):
        raise ValueError(f"TensorResize must be the last step of a view: {view.steps}")
    for step in view.steps:
        result = _apply(step, result)
    return result


def _apply(step: Step, image: Image.Image) -> Image.Image:
    match step:
        case Resize(size=size, filter=name):
            return image.resize(_resized(size, image.size), _RESAMPLING[name])
        case CenterCrop(size=size, half=half):
            return _center_crop(image, size, half)
        case Tile(size=size):
            return _tile(image, size)
        case DropOdd():
            width, height = image.size
            return image.crop((0, 0, width - width % 2, height - height % 2))
        case OpenCVResize(size=size, filter=name):
            size = size if isinstance(size, tuple) else _longer(size, image.size)
            return Image.fromarray(resize_like_opencv(np.asarray(image), size, bicubic=name == "bicubic"))
        case TensorResize():
            return image  # `apply_view` resizes the values that come out of the 8-bit steps
        case Reflect(size=size):
            return _reflect(image, size)


def _resized(size: int | tuple[int, int], current: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) after resizing; the longer side is truncated, as torchvision does."""
    if isinstance(size, tuple):
        return size[1], size[0]
    width, height = current
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _longer(size: int, current: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) with `size` as the longer side; the other is rounded, and at least 1."""
    width, height = (max(round(side * (size / max(current))), 1) for side in current)
    return height, width


def _center_crop(image: Image.Image, size: int, half: Literal["even", "down"]) -> Image.Image:
    width, height = image.size
    if width < size or height < size:
        padded = Image.new("RGB", (max(width, size), max(height, size)))
        padded.paste(image, (max(size - width, 0) // 2, max(size - height, 0) // 2))
        image = padded
        width, height = image.size
    if half == "down":
        left, top = (width - size) // 2, (height - size) // 2
    else:
        # Python's round goes to the even integer at a half, which decides the offset of odd differences.
        left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _tile(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    across, down = math.ceil(size / width), math.ceil(size / height)
    if across <= 1 and down <= 1:
        return image
    tiled = Image.new("RGB", (width * across, height * down))
    for row in range(down):
        for column in range(across):
            tiled.paste(image, (column * width, row * height))
    return tiled


def _reflect(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if width >= size and height >= size:
        return image
    return Image.fromarray(np.asarray(image)[_mirrored(height, size)][:, _mirrored(width, size)])


def _mirrored(length: int, size: int) -> NDArray[np.intp]:
    """Return the positions along a side and, where it is shorter than `size`, of its mirror images before and after.

    The outermost pixel is not repeated (OpenCV's BORDER_REFLECT_101); mirror images are mirrored again as often as
    needed. Of an odd lack the smaller half lies before.
    """
    lack = max(size - length, 0)
    position = np.arange(length + lack) - lack // 2
    period = max(2 * (length - 1), 1)
    return np.abs((position + length - 1) % period - (length - 1))


@functools.lru_cache(maxsize=64)
def _normalised(mean: tuple[float, ...], std: tuple[float, ...], divisor: float) -> NDArray[np.float32]:
    """Return the normalised value of each 8-bit level, (3, 256): the same float32 steps as on the image, once."""
    level = np.arange(256, dtype=np.float32) / np.float32(divisor)
    centre = np.asarray(mean, dtype=np.float32)[:, None]
    spread = np.asarray(std, dtype=np.float32)[:, None]
    return (level[None, :] - centre) / spread


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow reads; asking it for another is a KeyError."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


class _PillowSettings:
    """Pillow's process-wide switches while anything decodes; the last of several threads puts them back.

    Its warnings are muted: what they tell (odd EXIF, large images, byte transparency) leaves the pixels as they are.
    Truncated files are refused even where a plugin switched Pillow to fill them up with grey.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._warnings = warnings.catch_warnings()
        self._lenient = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._lenient = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._lenient
                self._warnings.__exit__(None, None, None)


_pillow = _PillowSettings()


def _refuse(opened: Image.Image, location: str) -> None:
    """Raise for what Pillow would turn into other pixels or too much memory; only the header has been read."""
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{location}: claims {width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded here "
            "(decompression bomb?)"
        )
    if opened.mode == "F" or opened.mode.startswith("I"):
        raise ImageError(
            f"{location}: more than 8 bits in one channel (mode {opened.mode}); converting would clip it to white. "
            "Save it with 8 bits a channel"
        )


def _metadata(opened: Image.Image, size: int) -> FileMetadata:
    tables = getattr(opened, "quantization", None) or {}
    return FileMetadata(
        format=opened.format or "unknown",
        mode=opened.mode,
        width=opened.width,
        height=opened.height,
        bytes=size,
        quantisation=tuple(tuple(tables[key]) for key in sorted(tables)),
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"decompression bomb: {error}"
    return str(error) or type(error).__name__


def _looks_like(payload: bytes) -> str:
    head = payload[:64].lstrip()
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer stands in its place: fetch it with 'git lfs pull'"
    if head[:9].lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "it holds a web page or XML, as a failed download leaves"
    if payload[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        return "HEIF; convert it to PNG or JPEG"
    if not payload.strip(b"\0"):
        return f"{len(payload)} bytes, all zero"
    return f"no known image signature; it starts with {payload[:8].hex(' ')}"
