"""Writes testdata/goldens/presets.safetensors: few-step models' settings, by their cards, through diffusers' pipelines.

    python tools/reference/presets.py

The models are the tiny ones, so that the settings count and not the images. A case has the fields of cases.py, those of
the call left out, which goxl's preset has to fill in; "preset" names it. NUMBERS has the cards' own, a second time beside
models/sdxl/presets.go.
"""

import json

import diffusers
import torch

import common
from cases import text
from pipelines import pipe_for
from samplers import Flow

TRAILING = {"timestep_spacing": "trailing"}
DDIM, EULER, LCM, TCD = "DDIMScheduler", "EulerDiscreteScheduler", "LCMScheduler", "TCDScheduler"
FLOW = "FlowMatchEulerDiscreteScheduler"
NUMBERS = {
    "turbo": ("EulerAncestralDiscreteScheduler", TRAILING, dict(num_inference_steps=1, guidance_scale=0.0)),
    "lightning1": (EULER, {**TRAILING, "prediction_type": "sample"}, dict(num_inference_steps=1, guidance_scale=0)),
    "lightning2": (EULER, TRAILING, dict(num_inference_steps=2, guidance_scale=0)),
    "lightning4": (EULER, TRAILING, dict(num_inference_steps=4, guidance_scale=0)),
    "lightning8": (EULER, TRAILING, dict(num_inference_steps=8, guidance_scale=0)),
    "hyper1": (LCM, {}, dict(timesteps=[800], guidance_scale=0)),
    "hyper2": (DDIM, TRAILING, dict(num_inference_steps=2, guidance_scale=0)),
    "hyper4": (DDIM, TRAILING, dict(num_inference_steps=4, guidance_scale=0)),
    "hyper8": (DDIM, TRAILING, dict(num_inference_steps=8, guidance_scale=0)),
    "hyper-unified": (TCD, {}, dict(num_inference_steps=1, guidance_scale=0, eta=1.0)),
    "hyper-cfg8": (DDIM, TRAILING, dict(num_inference_steps=8, guidance_scale=5.0)),
    "hyper-cfg12": (DDIM, TRAILING, dict(num_inference_steps=12, guidance_scale=5.0)),
    "dmd2-4": (LCM, {}, dict(timesteps=[999, 749, 499, 249], guidance_scale=0)),
    "dmd2-1": (LCM, {}, dict(timesteps=[399], guidance_scale=0)),
    "lcm": (LCM, {}, dict(num_inference_steps=4, guidance_scale=8.0)),
    "lcm-lora": (LCM, {}, dict(num_inference_steps=4, guidance_scale=0)),
    "tcd": (TCD, {}, dict(num_inference_steps=4, guidance_scale=0, eta=0.3)),
    "pcm2": (TCD, TRAILING, dict(num_inference_steps=2, guidance_scale=0.0)),
    "pcm4": (TCD, TRAILING, dict(num_inference_steps=4, guidance_scale=0.0)),
    "pcm8": (TCD, TRAILING, dict(num_inference_steps=8, guidance_scale=0.0)),
    "pcm16": (TCD, TRAILING, dict(num_inference_steps=16, guidance_scale=0.0)),
    "pcm-cfg4": (TCD, TRAILING, dict(num_inference_steps=4, guidance_scale=7.5)),
    "pcm-cfg8": (TCD, TRAILING, dict(num_inference_steps=8, guidance_scale=7.5)),
    "pcm-cfg16": (TCD, TRAILING, dict(num_inference_steps=16, guidance_scale=7.5)),
    "pcm-lcm": (LCM, {}, dict(num_inference_steps=4, guidance_scale=0.0)),
    "bigasp2.5": (FLOW, {"use_beta_sigmas": True, "shift": 1.0}, dict(num_inference_steps=28, guidance_scale=5.0)),
}


def run(case, dtype, **over):
    pipe = pipe_for(case, dtype)
    name, keys, call = NUMBERS[case["preset"]]
    scheduler = Flow if name == FLOW else getattr(diffusers, name)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config, **keys)
    return pipe(case["prompt"], width=case["width"], height=case["height"], output_type="latent",
                generator=torch.Generator("cpu").manual_seed(case["seed"]), **{**call, **over}).images


def main():
    tensors, table = {}, []
    cases = [(text(f"preset-{p}", "tiny", preset=p, steps=None, width=48, seed=3), {}) for p in NUMBERS]
    cases.append((text("preset-lcm-embedded", "tiny-c", preset="lcm", steps=None, width=48, height=32, seed=3), {}))
    cases.append((text("preset-lcm-embedded-off", "tiny-c", preset="lcm-lora", steps=None, width=48, height=32, seed=3), {}))
    # What a request gives wins over the preset.
    cases.append((text("preset-steps", "tiny", preset="dmd2-4", steps=8, width=48, seed=3), dict(timesteps=None, num_inference_steps=8)))
    cases.append((text("preset-guidance", "tiny", preset="lightning4", steps=None, guidance=2.0, width=48, seed=3), dict(guidance_scale=2.0)))
    cases.append((text("preset-eta", "tiny", preset="tcd", steps=None, eta=0.0, width=48, seed=3), dict(eta=0.0)))
    for case, over in cases:
        latents, wide = run(case, torch.float32, **over), run(case, torch.float64, **over)
        assert torch.isfinite(latents).all(), case["name"]
        tensors[case["name"]] = latents
        error = (latents.double() - wide.double()).abs().max().item()
        table.append({**case, "float32_error": float(f"{error:.3g}")})
        print(f"{case['name']}: max {latents.abs().max():.3f} float32 error {error:.2e}")
    common.write("goldens/presets.safetensors", tensors, common.metadata("presets.py", cases=table))


if __name__ == "__main__":
    main()
