"""Writes scheduler/testdata/random.json.gz: torch's CPU generator, bit for bit.

Run from the repository root: python tools/reference/torch_random.py

Each script is a list of calls on one generator, so that cached values and the position in the stream are covered.
Short results are kept as the bit patterns of their float32 values, long ones as a CRC-32 of their little-endian bytes
with the first four bit patterns.
"""

import gzip
import json
import os
import zlib

import numpy as np
import torch

SEEDS = [0, 1, 2, 42, 1234, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63 + 11, 2**64 - 1]
# One to forty covers every class around the block of 16; the rest are latents: 512, 1024 and odd sizes.
LENGTHS = list(range(1, 41)) + [255, 256, 257, 4 * 64 * 64, 4 * 63 * 65, 4 * 128 * 128]


def call(generator, kind, length):
    values = {"randn": torch.randn, "rand": torch.rand}[kind](length, generator=generator, dtype=torch.float32).numpy()
    bits = values.view(np.uint32)
    entry = {"kind": kind, "len": length, "head": bits[:4].tolist()}
    if length <= 20:
        entry["head"] = bits.tolist()
    entry["crc"] = zlib.crc32(values.tobytes())
    return entry


def generator_for(seed):
    # torch takes a signed or an unsigned 64-bit seed.
    return torch.Generator("cpu").manual_seed(seed)


def main():
    scripts = []
    for seed in SEEDS:
        for length in LENGTHS if seed in (0, 42) else [1, 3, 15, 16, 17, 31, 32, 33, 4 * 64 * 64]:
            g = generator_for(seed)
            scripts.append({"seed": seed, "calls": [call(g, "randn", length)]})
        g = generator_for(seed)
        scripts.append({"seed": seed, "calls": [call(g, "rand", n) for n in (1, 5, 16, 17, 1000)]})
        # An odd scalar call leaves a cached value, which outlives blocked and uniform calls.
        g = generator_for(seed)
        scripts.append({"seed": seed, "calls": [call(g, k, n) for k, n in (
            ("randn", 3), ("randn", 1), ("randn", 5), ("randn", 64), ("rand", 7), ("randn", 2), ("randn", 1),
            ("randn", 17), ("randn", 15), ("randn", 15), ("randn", 1000), ("randn", 1))]})
    out = {
        "made_by": "tools/reference/torch_random.py",
        "versions": {"torch": torch.__version__, "numpy": np.__version__,
                     "cpu_capability": torch.backends.cpu.get_cpu_capability()},
        "scripts": scripts,
    }
    path = os.path.join("scheduler", "testdata", "random.json.gz")
    with gzip.GzipFile(path, "wb", mtime=0) as f:
        f.write(json.dumps(out, separators=(",", ":")).encode())


if __name__ == "__main__":
    main()
