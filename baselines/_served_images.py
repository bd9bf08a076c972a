"""An image as a data URL, at the size and in the format that the options state."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_QUALITY = 95


def data_url(image: Image, *, side: int, format: str) -> str:
    """Return an RGB image as a data URL; its longest side is at most `side` pixels (0: as it is), bicubic."""
    from PIL import Image as images

    longest = max(image.size)
    if side and longest > side:
        width, height = (max(1, round(length * side / longest)) for length in image.size)
        image = image.resize((width, height), images.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if format == "jpeg":
        image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(buffer, "PNG", compress_level=1)
    return f"data:image/{format};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pixel_digest(image: Image) -> str:
    """Return a sha256 (hex) over an image's size and pixels."""
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()
