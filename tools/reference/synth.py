"""Synthetic weights: every tensor is a pure function of its name and the element's index.

goxl computes the same function (package nn/weights), so checkpoints of any size can be compared without
shipping a weight. A tensor's name is its component's folder, '/', and its key in the checkpoint, for example
"unet/conv_in.weight"; keys of both text encoders always begin with "text_model." (text_projection excepted).

    h     = splitmix64(fnv1a64(name) + index * 0x9E3779B97F4A7C15)        (mod 2^64)
    u     = (h >> 40) * 2^-23 - 1                                          in [-1, 1)
    value = 1 + 0.1 u                  a norm weight: a 1-D tensor whose key ends in ".weight"
            0.05 u                     a bias
            0.03 u                     an embedding table
            u * sqrt(3 / fan_in) * g   any other weight; g = 0.5 on the last layer of a residual branch, else 1

computed in float64, rounded to float32, then to the file's dtype, each time to nearest even.
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
CHUNK = 1 << 16
BRANCH_ENDS = ("to_out.0", "ff.net.2", "conv2", "proj_out", "out_proj", "fc2")


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(x):
    """splitmix64 of a uint64 array, wrapping."""
    x = x + np.uint64(GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _affine(name, shape):
    """(offset, scale): value = offset + scale * u."""
    module, _, leaf = name.rpartition(".")
    if leaf == "bias":
        return 0.0, 0.05
    if leaf == "weight" and len(shape) == 1:
        return 1.0, 0.1
    if module.endswith("_embedding") and leaf == "weight":
        return 0.0, 0.03
    gain = 0.5 if module.endswith(tuple("." + end for end in BRANCH_ENDS)) else 1.0
    return 0.0, math.sqrt(3.0 / math.prod(shape[1:])) * gain


def tensor(name, shape, dtype="float32"):
    """The tensor called name, in shape and dtype ("float32" or "float16"), as a numpy array."""
    shape = tuple(int(d) for d in shape)
    offset, scale = _affine(name, shape)
    start = np.uint64(fnv1a64(name))
    out = np.empty(math.prod(shape), dtype=dtype)
    with np.errstate(over="ignore"):
        for lo in range(0, out.size, CHUNK):
            hi = min(lo + CHUNK, out.size)
            index = np.arange(lo, hi, dtype=np.uint64)
            h = splitmix64(start + index * np.uint64(GOLDEN))
            u = (h >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
            out[lo:hi] = (offset + scale * u).astype(np.float32)
    return out.reshape(shape)
