"""Writes testdata/goldens/previews.safetensors: what ComfyUI's Latent2RGBPreviewer makes of latents (latent_preview.py, with latent_rgb_factors and
latent_rgb_factors_bias of SDXL in comfy/latent_formats.py), before and after its rounding down to bytes."""

import torch

import common

FACTORS = [[0.3651, 0.4232, 0.4341], [-0.2533, -0.0042, 0.1068], [0.1076, 0.1111, -0.0362], [-0.3165, -0.2492, -0.2188]]
BIAS = [0.1084, -0.0175, -0.0011]


def main():
    x0 = 2 * torch.randn(2, 4, 20, 28, generator=torch.Generator().manual_seed(16))
    image = torch.nn.functional.linear(x0.movedim(1, -1), torch.tensor(FACTORS).transpose(0, 1), bias=torch.tensor(BIAS))
    levels = ((image + 1.0) / 2.0).clamp(0, 1).mul(0xFF)
    common.write("goldens/previews.safetensors", {"x0": x0, "levels": levels, "bytes": levels.to(torch.uint8)}, common.metadata("previews.py", seed="16"))


if __name__ == "__main__":
    main()
