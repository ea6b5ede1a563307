"""Prints the SHA-256 of what Pillow's Image.resize makes of a small image, for internal/resample's test."""

import hashlib

from PIL import Image


def source(width, height):
    """An image whose bytes are a hash of their place, as the test makes it."""
    data = bytearray()
    for i in range(width * height * 3):
        data.append((i * 2654435761 >> 13) & 0xFF)
    return Image.frombytes("RGB", (width, height), bytes(data))


def main():
    lanczos, bicubic, nearest = Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.NEAREST
    for name, kind, (w, h), size, box in [
        ("lanczos", lanczos, (37, 23), (64, 48), None),
        ("lanczos", lanczos, (37, 23), (9, 11), None),
        ("lanczos", lanczos, (37, 23), (37, 50), None),
        ("lanczos", lanczos, (37, 23), (37, 23), None),
        ("nearest", nearest, (37, 23), (64, 48), None),
        ("nearest", nearest, (37, 23), (10, 7), None),
        ("bicubic", bicubic, (37, 23), (64, 48), (0, 0, 37, 23)),
        ("bicubic", bicubic, (37, 23), (20, 9), (3, 2.5, 30, 20)),
        ("bicubic", bicubic, (37, 23), (37, 6), (0, 0, 37, 0)),
        ("bicubic", bicubic, (37, 23), (37, 6), (0, 23, 37, 23)),
        ("bicubic", bicubic, (37, 23), (5, 23), (0, 0, 0, 23)),
        ("bicubic", bicubic, (37, 23), (5, 23), (37, 0, 37, 23)),
    ]:
        out = source(w, h).resize(size, resample=kind, box=box)
        print(name, (w, h), size, box, hashlib.sha256(out.tobytes()).hexdigest()[:16])


if __name__ == "__main__":
    main()
