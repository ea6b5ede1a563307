"""Prints latent_rgb_factors and their bias, for goxl.json: the linear map from the latents of a model to the colours, in -1...1, of its images.

    go build -o goxl ./cmd/goxl
    python tools/demo/latent_rgb.py ./goxl

It is a least-squares fit to sixteen images, each averaged over the pixels of a latent. The prompts are diffuse.PROMPTS, the seeds 101 to 116.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from diffuse import PROMPTS


def main():
    program = sys.argv[1]
    latents, colours = [], []
    with tempfile.TemporaryDirectory() as folder:
        image, saved = os.path.join(folder, "image.png"), os.path.join(folder, "latents.safetensors")
        for i, prompt in enumerate(PROMPTS):
            subprocess.run([program, "generate", "-model", "demo", "-prompt", prompt, "-seed", str(101 + i), "-quiet", "-o", image, "-save-latents", saved],
                           check=True, stdout=subprocess.DEVNULL)
            x = load_file(saved)["latents"][0].transpose(1, 2, 0)
            h, w, c = x.shape
            with Image.open(image) as file:
                pixels = np.asarray(file.convert("RGB"), np.float64) / 127.5 - 1
            colours.append(pixels.reshape(h, pixels.shape[0] // h, w, pixels.shape[1] // w, 3).mean((1, 3)).reshape(-1, 3))
            latents.append(x.reshape(-1, c))
    x, y = np.concatenate(latents).astype(np.float64), np.concatenate(colours)
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    fit, *_ = np.linalg.lstsq(x, y, rcond=None)
    error = np.sqrt(np.mean((x @ fit - y) ** 2)) * 127.5
    print(f"off by {error:.1f} of 255 in the root mean square; without a map {y.std() * 127.5:.1f}", file=sys.stderr)
    print(json.dumps({"latent_rgb_factors": fit[:-1].round(4).tolist(), "latent_rgb_factors_bias": fit[-1].round(4).tolist()}))


if __name__ == "__main__":
    main()
