"""Writes nn/weights/testdata/float8.safetensors: every float8 of both kinds, and the float16 that torch makes of it.

    python tools/reference/float8.py

`e4m3` (F8_E4M3) and `e5m2` (F8_E5M2) hold the 256 bit patterns in order, repeated so that a length is no multiple of
eight; `e4m3.fp16` and `e5m2.fp16` are torch's casts of them.
"""

import os

import torch
from safetensors.torch import save_file


def main():
    bits = torch.arange(256, dtype=torch.int16).to(torch.uint8).repeat(2)[:509]
    tensors = {}
    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        tensors[name] = bits.view(dtype).clone()
        tensors[f"{name}.fp16"] = tensors[name].to(torch.float16)
    path = os.path.join(os.path.dirname(__file__), "..", "..", "nn", "weights", "testdata", "float8.safetensors")
    save_file(tensors, path, metadata={"generator": "tools/reference/float8.py", "torch": torch.__version__, "seed": "none"})


if __name__ == "__main__":
    main()
