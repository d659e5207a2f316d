"""Images that no reader should open."""

import struct
import zlib


def huge_png() -> bytes:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    start = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    return start + struct.pack(">I", 1000) + b"IDAT" + bytes(8)
