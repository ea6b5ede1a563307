"""Writes testdata/goldens/wide.safetensors: final latents of whole runs in float64, and how far diffusers' own float32 is from them.

    python tools/reference/wide.py

Of cases.py every run of DDIM and those whose float32 is furthest off, and EXTRA: a v-prediction model with a zero terminal signal-to-noise ratio
amplifies rounding with its guidance. Metadata "cases" lists the calls; "float32" of each is the relative distance of diffusers' float32. NAME.latents is
float64; what a run begins with (input_latents) is in pipelines.safetensors.
"""

import os

import torch
from safetensors.torch import load_file

import cases
import common
import pipelines

FURTHEST = ("b-negative", "b-batch", "b-negative-empty", "b-clip-skip", "v-euler", "v-dpmpp_2m_karras")
EXTRA = [cases.text(f"ddim-{steps}-{guidance}", "tiny-b", scheduler="ddim", steps=steps, guidance=guidance, seed=seed, width=48, height=48, negative="blurry")
         for steps, guidance, seed in ((5, 7.5, 1), (10, 12.5, 2), (25, 7.5, 3), (10, 20.0, 4))]


def main():
    tensors = load_file(os.path.join(common.TESTDATA, "pipelines.safetensors"))
    chosen = [c for c in cases.all_cases() if c.get("scheduler") == "ddim" or c["name"] in FURTHEST]
    table, out = [], {}
    for case in chosen + EXTRA:
        case = {k: v for k, v in case.items() if k != "keep_image"}
        wide, _ = pipelines.run(case, torch.float64, tensors)
        narrow, _ = pipelines.run(case, torch.float32, tensors)
        distance = ((narrow.double() - wide).norm() / wide.norm()).item()
        name = case["name"] + ".latents"
        out[name] = wide.double()
        table.append({**case, "output": {"latents": name}, "float32": float(f"{distance:.3g}")})
        print(case["name"], distance, flush=True)
    common.write("goldens/wide.safetensors", out, common.metadata("wide.py", cases=table))


if __name__ == "__main__":
    main()
