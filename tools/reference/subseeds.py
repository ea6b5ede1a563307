"""Writes testdata/goldens/subseeds.safetensors: noise of variation seeds as A1111 draws it on a CPU (ImageRNG and slerp of modules/rng.py), written anew
from what that computes, in float32. A tensor "SEED SUBSEED STRENGTH" is [N, 4, H, W]; its image i has the subseed SUBSEED + i."""

import torch

import common

CASES = [  # the seed of all images, the first subseed, strength, shape
    (7, 1000, 0.25, (2, 4, 5, 6)),
    (7, 1000, 1.0, (1, 4, 5, 6)),
    (2**63 + 5, 3, 0.6, (1, 4, 8, 8)),
    (12, 11, 0.5, (3, 4, 5, 6)),  # the second image's subseed is the seed: the two noises are the same, which slerp treats apart
]


def randn(seed, shape):
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def slerp(t, low, high):
    """Along axis 1 of [C, H, W]: the height."""
    cosine = (low / torch.norm(low, dim=1, keepdim=True) * (high / torch.norm(high, dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return t * low + (1 - t) * high
    angle = torch.acos(cosine)
    a, b = torch.sin((1.0 - t) * angle) / torch.sin(angle), torch.sin(t * angle) / torch.sin(angle)
    return a.unsqueeze(1) * low + b.unsqueeze(1) * high


def main():
    tensors = {}
    for seed, subseed, strength, (n, *shape) in CASES:
        images = [slerp(strength, randn(seed, shape), randn(subseed + i, shape)) for i in range(n)]
        tensors[f"{seed} {subseed} {strength}"] = torch.stack(images)
    common.write("goldens/subseeds.safetensors", tensors, common.metadata("subseeds.py"))


if __name__ == "__main__":
    main()
