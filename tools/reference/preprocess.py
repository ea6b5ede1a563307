"""Writes testdata/goldens/preprocess.safetensors: control images that OpenCV makes, as sd-webui-controlnet calls it.

    python tools/reference/preprocess.py

The calls are those of the extension's scripts/processor.py, with its defaults and with other numbers. Metadata "cases"
lists [image, name]; results are uint8 [H, W, 3] under "image name".
"""

import cv2
import numpy as np
import torch

import common

SEED = 20261130


def images():
    """Shapes with soft and hard edges, noise, and sides that nothing divides."""
    for name, (height, width) in {"soft": (61, 83), "noise": (40, 48), "thin": (1, 9), "small": (3, 2)}.items():
        r = np.random.default_rng([SEED, *name.encode()])
        y, x = np.mgrid[:height, :width]
        pixels = np.stack([128 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (7 - c)) for c in range(3)], axis=-1)
        for _ in range(8):
            top, left = r.integers(0, max(1, height - 4)), r.integers(0, max(1, width - 4))
            pixels[top:top + r.integers(3, 20), left:left + r.integers(3, 30)] = r.integers(0, 256, 3)
        if name != "soft":
            pixels = pixels * 0.3 + r.integers(0, 180, pixels.shape)
        yield name, pixels.clip(0, 255).astype(np.uint8)
    yield "colours", np.stack([*np.meshgrid(*[np.r_[0:256:5, 255]] * 2, indexing="ij"),np.add.outer(np.arange(53), 4 * np.arange(53)) % 256],
                              axis=-1).astype(np.uint8)


def gamma(channel, value):
    result = channel.astype(np.float32) / 255.0
    result = result ** value
    return cv2.cvtColor((result * 255.0).clip(0, 255).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def tile(image, factor):
    if factor < 1.1:
        return image
    height, width = image.shape[:2]
    return cv2.resize(image, (int(float(width) / factor), int(float(height) / factor)), interpolation=cv2.INTER_AREA)


def grey(edges):
    return np.repeat(edges[:, :, None], 3, axis=2)


def cases(name, image):
    yield "canny", grey(cv2.Canny(image, 100, 200))
    yield "canny:40:90", grey(cv2.Canny(image, 40, 90))
    yield "canny:300.5:20", grey(cv2.Canny(image, 300.5, 20))
    yield "invert", 255 - image
    for sigma in (9.0, 1.0, 0.4, 2.7):
        yield f"blur_gaussian:{sigma:g}", cv2.GaussianBlur(image, (0, 0), sigma)
    yield "recolor_luminance", gamma(cv2.cvtColor(image, cv2.COLOR_BGR2LAB)[:, :, 0], 1.0)
    yield "recolor_intensity", gamma(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[:, :, 2], 1.0)
    yield "recolor_luminance:0.7", gamma(cv2.cvtColor(image, cv2.COLOR_BGR2LAB)[:, :, 0], 0.7)
    yield "recolor_intensity:1.6", gamma(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[:, :, 2], 1.6)
    if min(image.shape[:2]) > 8:
        for factor in (1.0, 2.0, 3.0, 4.0, 1.7, 2.5):
            yield f"tile_resample:{factor:g}", tile(image, factor)


def main():
    out, table = {}, []
    for name, image in images():
        out[f"image.{name}"] = torch.from_numpy(image)
        for case, result in cases(name, image):
            out[f"{name} {case}"] = torch.from_numpy(np.ascontiguousarray(result))
            table.append([name, case])
    common.write("goldens/preprocess.safetensors", out, {**common.metadata("preprocess.py", seed=SEED, cases=table), "opencv": cv2.__version__})


if __name__ == "__main__":
    main()
