"""Writes scheduler/testdata/float64.json.gz: runs in float64, to compare the coefficients of steps without float32's error.

    A1111=DIR COMFYUI=DIR python tools/reference/scheduler_float64.py

Cases, latents, model and noise are those of kdiffusion.py and scheduler_run.py, whose sigmas stay float32; "final" has
four of the sixteen latents with every digit. k-diffusion's samplers get their sigmas by "sigmas" of the options. Square
roots and logarithms of float32 are correctly rounded here, and exponentials: torch's own depend on the host in their last
bit, by which the results would differ in the eighth digit.
"""

import gzip
import json
import os
from importlib.metadata import version

import numpy as np
import torch

import scheduler_run
import kdiffusion
import kdiffusion_model
from kdiffusion_model import Path

STEPS = (3, 6, 12, 25, 40)
OWN = ("sa_solver", "sa_solver_karras", "kdpm2", "kdpm2_a", "kdpm2_a_karras", "flow_euler", "flow_euler_beta", "deis", "dpmpp_2s")


def round_correctly():
    """Patches torch."""
    power, log, exp, sqrt = torch.Tensor.__pow__, torch.Tensor.log, torch.Tensor.exp, torch.Tensor.sqrt

    def rounded_power(x, exponent):
        if exponent == 0.5 and x.dtype == torch.float32:
            return torch.from_numpy(np.sqrt(np.atleast_1d(x.numpy())).reshape(x.shape))
        return power(x, exponent)

    def rounded_log(x):
        return log(x.double()).float() if x.dtype == torch.float32 else log(x)

    torch.Tensor.__pow__, torch.Tensor.log = rounded_power, rounded_log
    torch.Tensor.exp = lambda x: exp(x.double()).to(x.dtype)
    torch.Tensor.sqrt = lambda x: sqrt(x.double()).to(x.dtype)


def kept(case, x, **more):
    return {**{k: case[k] for k in ("base", "as", "with")}, "options": {**case["options"], **more},
            "final": [float(v) for v in x.flatten()[::5]]}


def k_cases():
    """k-diffusion's samplers on Karras' sigmas, rounded from float64."""
    ramp = lambda n: (14.6146**(1 / 7) + np.linspace(0, 1, n) * (0.03**(1 / 7) - 14.6146**(1 / 7))) ** 7
    for n in STEPS:
        sigmas = torch.tensor([*ramp(n), 0.0], dtype=torch.float32)
        for name in kdiffusion.K_NAMES:
            if name not in ("k_dpm_fast", "k_restart"):  # which have sigmas of their own in between
                yield kdiffusion.a1111, (name, "", n), sigmas
        for sampler in kdiffusion.COMFY_NAMES + kdiffusion.CFGPP_NAMES:
            if sampler != "dpm_fast":
                yield kdiffusion.comfyui, (sampler, "simple", n), sigmas


def run_k(run, arguments, sigmas):
    original, finish = kdiffusion.begin, kdiffusion.finish

    def begin(case, _, n, noise, factor):
        return original(case, sigmas, n, noise, sigmas[0])

    final = {}
    kdiffusion.begin = begin
    kdiffusion.finish = lambda case, model, x, noise, init: final.update(case=case, x=x) or case
    Path.levels = []
    try:
        run(*arguments)
        kdiffusion_model.WIDE = torch.float64
        run(*arguments)
    finally:
        kdiffusion_model.WIDE = None
        torch.set_default_dtype(torch.float32)
        kdiffusion.begin, kdiffusion.finish = original, finish
    case = kept(final["case"], final["x"], sigmas=[float(s) for s in sigmas])
    del case["options"]["steps"]
    case["as"] = case["as"].removesuffix("_simple")
    if Path.levels[1:]:
        case["levels"] = Path.levels
    return case


def own_cases():
    """diffusers' classes whose coefficients the other goldens reach in float32 alone."""
    for name in OWN:
        for n in STEPS:
            final = {}
            finish, to = scheduler_run.shortest, torch.Tensor.to
            scheduler_run.shortest = lambda v: float(v)
            # Flow matching takes its steps in float32, whatever the latents are.
            torch.Tensor.to = lambda x, *a, **k: x if x.dtype == torch.float64 and a == (torch.float32,) else to(x, *a, **k)
            base = "flow" if name.startswith("flow") else "sdxl"
            try:
                case = scheduler_run.attempt({"base": base, "as": name, "with": {}, "options": {"steps": n}})
            finally:
                scheduler_run.shortest, torch.Tensor.to = finish, to
            yield {k: case[k] for k in ("base", "as", "with", "options", "final")}


def main():
    round_correctly()
    scheduler_run.draw_float32()
    scheduler_run.construct_fast()
    cases = [run_k(*c) for c in k_cases()] + list(own_cases())
    packages = ("k-diffusion", "diffusers", "torch", "numpy")
    golden = {"script": "tools/reference/scheduler_float64.py", "versions": {p: version(p) for p in packages},
              "bases": {k: scheduler_run.BASES[k] for k in ("sdxl", "flow")}, "cases": cases}
    path = os.path.join("scheduler", "testdata", "float64.json.gz")
    with open(path, "wb") as file:
        file.write(gzip.compress(json.dumps(golden, separators=(",", ":"), allow_nan=False).encode(), mtime=0))
    print(f"{len(cases)} cases, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
