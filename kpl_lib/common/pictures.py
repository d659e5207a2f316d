"""Small pictures that travel inside a page or a chart."""

import base64
import io

from PIL import Image


def thumbnail(image: Image.Image, side: int = 112) -> str:
    """A small JPEG copy of an image as a `data:` address, at most `side` pixels a side, without its metadata."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
