"""Writes testdata/demo_bfloat16.json: how far the embedded base's images are from float32's where diffusers computes its models in bfloat16, as peak
signal-to-noise ratios in dB. Latents, solver and noise stay in float32, as goxl's do. The requests are those of cardRequests in models/sdxl.

    python tools/reference/demo_bfloat16.py
"""

import copy
import json
import math
import os

import diffusers
import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

import common
import demo

SEED = 1


def narrow(model, *methods):
    """Has the methods of a model compute in bfloat16, and the pipeline see float32. Numbers, timesteps among them, stay as they are."""
    def cast(x, dtype):
        if torch.is_tensor(x):
            return x.to(dtype) if x.is_floating_point() and x.dim() else x
        if isinstance(x, DiagonalGaussianDistribution):
            return DiagonalGaussianDistribution(x.parameters.to(dtype))
        if isinstance(x, (tuple, list)):
            return type(x)(cast(v, dtype) for v in x)
        if isinstance(x, dict):
            x = copy.copy(x)
            for k in x:
                x[k] = cast(x[k], dtype)
        return x

    def wrapped(method):
        return lambda *args, **options: cast(method(*cast(args, torch.bfloat16), **cast(options, torch.bfloat16)), torch.float32)

    for name in methods:
        setattr(model, name, wrapped(getattr(model, name)))
    model.to(torch.bfloat16)
    type(model).dtype = property(lambda self: torch.float32)


def images(narrowed, first=None):
    """The requests' images by name; first is the one that image-to-image starts from, by default this call's own."""
    base = diffusers.StableDiffusionXLPipeline.from_pretrained(os.path.join(demo.FOLDER, "base"), torch_dtype=torch.float32, add_watermarker=False)
    if narrowed:
        for model in (base.unet, base.text_encoder, base.text_encoder_2):
            narrow(model, "forward")
        narrow(base.vae, "encode", "decode")
    own, solver = demo.defaults("base"), base.scheduler
    out = {}

    def draw(name, prompt, scheduler=solver, **change):
        base.scheduler = scheduler
        base.set_progress_bar_config(disable=True)
        out[name] = base(prompt, generator=torch.Generator("cpu").manual_seed(SEED), **{**own, **change}).images

    draw("default", "a red apple on a green background")
    draw("pair of an odd size", "two cats", num_images_per_prompt=2, width=200, height=136)
    draw("no guidance", "a rocket", guidance_scale=1.0, num_inference_steps=8)
    draw("rescaled guidance", "a rocket", guidance_rescale=0.7, num_inference_steps=8)
    draw("noise", "a rocket", diffusers.EulerAncestralDiscreteScheduler.from_config(solver.config), num_inference_steps=8)
    draw("history and noise", "a rocket", diffusers.DPMSolverMultistepScheduler.from_config(solver.config, algorithm_type="sde-dpmsolver++"), num_inference_steps=8)
    base.scheduler = solver
    again = diffusers.StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    again.set_progress_bar_config(disable=True)
    redraw = {k: v for k, v in own.items() if k not in ("height", "width")}
    generator = torch.Generator("cpu").manual_seed(SEED)
    out["redrawn"] = again("a blue apple", image=first or out["default"][0], strength=0.6, generator=generator, **redraw).images
    return out


def psnr(a, b):
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return 10 * math.log10(255**2 / np.mean(d * d))


def main():
    want = images(False)
    got = images(True, want["default"][0])
    found = {name: [round(psnr(a, b), 2) for a, b in zip(got[name], want[name])] for name in want}
    path = os.path.join(common.TESTDATA, "demo_bfloat16.json")
    with open(path, "w") as f:
        json.dump({**common.metadata("demo_bfloat16.py", seed=str(SEED)), "psnr": found}, f, indent=1, sort_keys=True)
        f.write("\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
