"""Writes testdata/half.json: how far diffusers' float16 and bfloat16 are from the float32 outputs of full.py, on an NVIDIA card.

    python tools/reference/half.py PART...       the parts of full.py; merged into what the file holds already

For each kept output of testdata/full.safetensors: the Euclidean distance of the kept elements over the norm of the float32 ones. goxl on a card may be
twice as far. The weights are full.py's, computed on the card.
"""

import json
import os
import sys
import time

import torch
from safetensors.torch import load_file

import common
import full
import synth

PATH = os.path.join(common.TESTDATA, "half.json")
CHUNK = 1 << 26


def signed(x):
    return x - (1 << 64) if x >> 63 else x


def shifted(x, n):
    """The logical right shift of an int64 tensor."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def tensor(name, shape):
    """synth.tensor in float16 on the card."""
    offset, scale = synth._affine(name, tuple(shape))
    out = torch.empty(shape.numel(), dtype=torch.float16, device="cuda")
    for lo in range(0, out.numel(), CHUNK):
        hi = min(lo + CHUNK, out.numel())
        h = torch.arange(lo, hi, dtype=torch.int64, device="cuda") * signed(synth.GOLDEN) + signed(synth.fnv1a64(name)) + signed(synth.GOLDEN)
        h = (h ^ shifted(h, 30)) * signed(0xBF58476D1CE4E5B9)
        h = (h ^ shifted(h, 27)) * signed(0x94D049BB133111EB)
        h = h ^ shifted(h, 31)
        u = shifted(h, 40).double() * 2.0**-23 - 1.0
        out[lo:hi] = (offset + scale * u).float().half()
    return out.reshape(shape)


def builder(dtype):
    def build(kind, part, make):
        start = time.time()
        with torch.device("meta"):
            model = make(os.path.join(common.folder(kind), part))
        state = {}
        for key, old in model.state_dict().items():
            if not key.endswith("position_ids"):
                state[key] = tensor(f"{part}/{common.synthetic_key(model, key)}", old.shape)
        small = min(state, key=lambda k: state[k].numel())
        want = synth.tensor(f"{part}/{common.synthetic_key(model, small)}", state[small].shape, "float16")
        assert torch.equal(state[small].cpu(), torch.from_numpy(want)), small
        model.load_state_dict({k: v.to(dtype) for k, v in state.items()}, strict=False, assign=True)
        full.positions(model)
        print(f"{kind}/{part} in {dtype}: weights in {time.time() - start:.1f} s", flush=True)
        return model.eval()

    return build


def main():
    unknown = set(sys.argv[1:]) - set(full.PARTS)
    if unknown or len(sys.argv) < 2:
        sys.exit(f"parts: {' '.join(full.PARTS)}")
    torch.use_deterministic_algorithms(False)
    torch.set_default_device("cuda")
    goldens = load_file(os.path.join(common.TESTDATA, full.PATH), device="cpu")
    measured = {}
    for dtype in (torch.float16, torch.bfloat16):
        errors = measured[str(dtype).removeprefix("torch.")] = {}

        def draw(name, out):
            shape, seed = full.INPUTS[name]
            return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), device="cpu").to("cuda", dtype)

        def keep(key, value, out):
            got, want = value.flatten()[:: int(goldens[key + ".stride"])].cpu().double(), goldens[key + ".strided"].double()
            assert got.shape == want.shape and torch.isfinite(got).all(), key
            errors[key] = float((got - want).norm() / want.norm())
            print(f"{key} in {dtype}: {errors[key]:.4g}", flush=True)

        full.build, full.draw, full.keep = builder(dtype), draw, keep
        for part in sys.argv[1:]:
            full.PARTS[part](part, {})
            torch.cuda.empty_cache()
    result = {}
    if os.path.exists(PATH):
        with open(PATH, encoding="utf-8") as f:
            result = json.load(f)
    result.update(common.metadata("half.py", card=torch.cuda.get_device_name()))
    for dtype, errors in measured.items():
        result.setdefault("errors", {}).setdefault(dtype, {}).update(errors)
    with open(PATH, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main()
