"""The invisible watermark: a golden from the real package, and a decoder for use by hand.

    python tools/reference/watermark.py                      writes testdata/goldens/watermark.safetensors
    python tools/reference/watermark.py decode IMAGE.png...   prints each image's 48 bits and how many agree with SDXL's message
"""

import sys

import cv2
import numpy as np
import torch
from diffusers.pipelines.stable_diffusion_xl.watermark import WATERMARK_BITS, StableDiffusionXLWatermarker
from imwatermark import WatermarkDecoder

import common


def ramp(height, width):
    """BGR float32: B = 60 + x/2, G = 40 + 0.3 y, R = 100, with x the column and y the row."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([60 + 0.5 * x, 40 + np.float32(0.3) * y, np.full_like(x, 100)], axis=-1).astype(np.float32)


def golden():
    mark, out = StableDiffusionXLWatermarker(), {}
    encoded = mark.encoder.encode(ramp(256, 256), "dwtDct")
    # 256 x 256: rows 0-15 and every 17th pixel; the sum is over everything, in float64.
    out["ramp.rows"] = torch.from_numpy(encoded[:16].copy())
    out["ramp.strided"] = torch.from_numpy(encoded[::17, ::17].copy())
    out["ramp.sum"] = torch.tensor([encoded.astype(np.float64).sum()], dtype=torch.float64)
    # A decoded image (RGB, NCHW, -1..1 and beyond) whose height and width leave remainders: through the whole of
    # apply_watermark. The image is a sum of waves that Go can draw: see README.md.
    image = waves(2, 259, 274)
    marked = mark.apply_watermark(image)
    out["waves.strided"] = marked[:, :, ::13, ::11].float()
    out["waves.corner"] = marked[1, :, 240:, 256:].float()
    out["waves.input_strided"] = image[:, :, ::13, ::11]
    small = waves(1, 300, 255)
    assert torch.equal(mark.apply_watermark(small), small), "narrower than 256 must stay as it is"
    for key, value in out.items():
        print(key, list(value.shape), value.flatten()[:4].tolist())
    common.write("goldens/watermark.safetensors", out, common.metadata("watermark.py", bits=WATERMARK_BITS))


def waves(count, height, width):
    """1.1 sin(0.05 (c+1) x + 0.031 y + n) cos(0.043 y - 0.2 c), in float64, rounded to float32; [count, 3, height, width]."""
    n, c, y, x = np.meshgrid(*(np.arange(k, dtype=np.float64) for k in (count, 3, height, width)), indexing="ij")
    return torch.from_numpy((1.1 * np.sin(0.05 * (c + 1) * x + 0.031 * y + n) * np.cos(0.043 * y - 0.2 * c)).astype(np.float32))


def decode(paths):
    decoder = WatermarkDecoder("bits", len(WATERMARK_BITS))
    for path in paths:
        image = cv2.imread(path)
        if image is None:
            sys.exit(f"{path}: not an image that OpenCV can read")
        bits = [int(b) for b in decoder.decode(image, "dwtDct")]
        agree = sum(a == b for a, b in zip(bits, WATERMARK_BITS))
        print(f"{path}: {''.join(map(str, bits))} {agree}/{len(bits)} bits of SDXL's watermark")


if __name__ == "__main__":
    if sys.argv[1:2] == ["decode"]:
        decode(sys.argv[2:])
    else:
        golden()
