"""Writes testdata/pipelines.safetensors and testdata/pipelines.json: whole runs of diffusers' pipelines, in float32.

    python tools/reference/pipelines.py          every case of cases.py
    python tools/reference/pipelines.py NAME...  those cases only, printed and not written

Every case is run a second time with models in float64 and the same (float32) noise. The largest absolute difference
of the latents, "float32_error", is what plain float32 costs in that case: the measure for a tolerance.
"""

import json
import os
import sys

import diffusers
import numpy as np
import torch
from PIL import Image

import cases
import common
from modules import random_image

CLASSES = {"euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler", "heun": "HeunDiscreteScheduler",
           "lms": "LMSDiscreteScheduler", "ddim": "DDIMScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler",
           "dpmpp_2m_sde": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler", "lcm": "LCMScheduler",
           "tcd": "TCDScheduler"}
PLAIN = {"prompt": "prompt", "prompt_2": "prompt_2", "negative": "negative_prompt", "negative_2": "negative_prompt_2",
         "width": "width", "height": "height", "steps": "num_inference_steps", "guidance": "guidance_scale",
         "guidance_rescale": "guidance_rescale", "n": "num_images_per_prompt", "eta": "eta", "clip_skip": "clip_skip",
         "timesteps": "timesteps", "denoising_end": "denoising_end", "denoising_start": "denoising_start",
         "strength": "strength", "aesthetic_score": "aesthetic_score", "negative_aesthetic_score": "negative_aesthetic_score"}
PAIRS = {"original_size": "original_size", "crop": "crops_coords_top_left", "target_size": "target_size",
         "negative_original_size": "negative_original_size", "negative_crop": "negative_crops_coords_top_left",
         "negative_target_size": "negative_target_size"}
OTHER = {"name", "model", "task", "seed", "scheduler", "input_image", "input_latents", "noise", "watermark", "keep_image"}

diffusers.logging.set_verbosity_error()
common.same_noise_in_float64()
pipes = {}


def pipe_for(case, dtype):
    key = (case["model"], case["task"], dtype, bool(case.get("watermark")))
    if key not in pipes:
        cls = diffusers.StableDiffusionXLPipeline if case["task"] == "text" else diffusers.StableDiffusionXLImg2ImgPipeline
        pipe = common.pipeline(case["model"], cls, add_watermarker=key[3]).to(dtype)
        pipes[key] = pipe
    pipe = pipes[key]
    pipe.scheduler = common.component(case["model"], "scheduler")
    if "scheduler" in case:
        base, options = case["scheduler"], {}
        for suffix in cases.SUFFIXES:
            if base.endswith(suffix):
                base, options = base[:-len(suffix)], {f"use{suffix}_sigmas": True}
        if base == "dpmpp_2m_sde":
            options["algorithm_type"] = "sde-dpmsolver++"
        pipe.scheduler = getattr(diffusers, CLASSES[base]).from_config(pipe.scheduler.config, **options)
    return pipe


def run(case, dtype, tensors):
    """The final latents [n, C, h, w] and, where the run is complete, the images uint8 [n, H, W, 3]."""
    unknown = set(case) - set(PLAIN) - set(PAIRS) - OTHER
    assert not unknown, unknown
    pipe = pipe_for(case, dtype)
    call = {PLAIN[k]: v for k, v in case.items() if k in PLAIN}
    call.update({PAIRS[k]: tuple(v) for k, v in case.items() if k in PAIRS})
    if "input_image" in case:
        call["image"] = Image.open(os.path.join(common.TESTDATA, case["input_image"]))
    if "input_latents" in case:
        call["image"] = tensors[case["input_latents"] + ".latents"].to(dtype)
    if "noise" in case:
        call["latents"] = tensors[case["noise"]].to(dtype)
    last = {}

    def keep(_pipe, _i, _t, values):
        last.update(values)
        return {}

    result = pipe(generator=torch.Generator("cpu").manual_seed(case["seed"]), callback_on_step_end=keep,
                  callback_on_step_end_tensor_inputs=["latents"],
                  output_type="pil" if case.get("keep_image") else "latent", **call).images
    pixels = np.stack([np.asarray(i) for i in result]) if case.get("keep_image") else None
    return last["latents"], None if pixels is None else torch.from_numpy(pixels)


def inputs():
    """The input images and the given noise; the same at every run."""
    generator = torch.Generator("cpu").manual_seed(20241105)
    os.makedirs(os.path.join(common.TESTDATA, "images"), exist_ok=True)
    for name, height, width in ((cases.IMAGE, 64, 72), (cases.ODD_IMAGE, 61, 70)):
        pixels = random_image(1, height, width, generator)[0].permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(os.path.join(common.TESTDATA, name), optimize=True)
    return {"noise-given.noise": torch.randn(1, 4, 8, 8, generator=generator)}


def main():
    wanted, table, tensors = sys.argv[1:], [], inputs()
    for case in cases.all_cases():
        latents, pixels = run(case, torch.float32, tensors)
        wide, _ = run({k: v for k, v in case.items() if k != "keep_image"}, torch.float64, tensors)
        assert torch.isfinite(latents).all(), case["name"]
        error = (latents.double() - wide.double()).abs().max().item()
        tensors[case["name"] + ".latents"] = latents.float()
        output = {"latents": case["name"] + ".latents"}
        if pixels is not None:
            tensors[case["name"] + ".image"] = pixels
            output["image"] = case["name"] + ".image"
        table.append({**{k: v for k, v in case.items() if k != "keep_image"}, "output": output, "float32_error": float(f"{error:.3g}"),
                      "largest_latent": float(f"{latents.abs().max().item():.4g}")})
        if not wanted or case["name"] in wanted:
            print(f"{case['name']}: {list(latents.shape)} max {latents.abs().max():.3f} float32 error {error:.2e}", flush=True)
    for a, b in cases.DIFFERENT:
        gap = (tensors[a + ".latents"] - tensors[b + ".latents"]).abs().max().item()
        print(f"{a} and {b} differ by {gap:.4f}")
        assert gap > 1e-2, (a, b)
    for a, b in cases.EQUAL:
        assert torch.equal(tensors[a + ".latents"], tensors[b + ".latents"]), (a, b)
    if wanted:
        return
    meta = common.metadata("pipelines.py")
    common.write("pipelines.safetensors", tensors, meta)
    head = json.dumps({"script": meta["script"], "versions": meta["versions"]})
    lines = ",\n".join(json.dumps(c, ensure_ascii=False) for c in table)
    with open(os.path.join(common.TESTDATA, "pipelines.json"), "w", encoding="utf-8") as f:
        f.write(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
