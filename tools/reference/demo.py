"""Writes testdata/goldens/demo.safetensors: runs of the embedded model in models/demo, its folder unchanged, by diffusers in float32.

    python tools/reference/demo.py
"""

import json
import os

import diffusers
import numpy as np
import torch

import common

FOLDER = os.path.join(common.ROOT, "models", "demo")
PROMPT = "a red apple and a blue car on a green background"
SEED = 1


def defaults():
    """The call's keywords of the folder's goxl.json."""
    with open(os.path.join(FOLDER, "base", "goxl.json")) as f:
        return {k: v for k, v in json.load(f).items() if k != "trained_pixels"}


def run(pipe, tensors, name, call):
    """Keeps the final latents [1, 4, h, w] and the image uint8 [1, H, W, 3] of a call; returns the PIL image."""
    last = {}

    def keep(_pipe, _i, _t, values):
        last.update(values)
        return {}

    image = pipe(generator=torch.Generator("cpu").manual_seed(SEED), callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["latents"], **call).images[0]
    assert torch.isfinite(last["latents"]).all(), name
    tensors[name + ".latents"] = last["latents"]
    tensors[name + ".image"] = torch.from_numpy(np.asarray(image)[None].copy())
    return image


def main():
    base = diffusers.StableDiffusionXLPipeline.from_pretrained(os.path.join(FOLDER, "base"), torch_dtype=torch.float32, add_watermarker=False)
    image_to_image = diffusers.StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    assert not image_to_image.config.requires_aesthetics_score
    for pipe in (base, image_to_image):
        pipe.set_progress_bar_config(disable=True)
    redraw = {k: v for k, v in defaults().items() if k not in ("height", "width")}
    calls = {"default": dict(prompt=PROMPT, **defaults()),
             "wide": dict(prompt="two cats", negative_prompt="blurry, a green background", width=320, height=192, num_inference_steps=8,
                          guidance_scale=defaults()["guidance_scale"]),
             "redrawn": dict(prompt=PROMPT, strength=0.3, **redraw)}
    tensors = {}
    image = run(base, tensors, "default", calls["default"])
    run(base, tensors, "wide", calls["wide"])
    run(image_to_image, tensors, "redrawn", {**calls["redrawn"], "image": image})
    calls["redrawn"]["image"] = "default.image"
    common.write("goldens/demo.safetensors", tensors, common.metadata("demo.py", seed=str(SEED), calls=calls))


if __name__ == "__main__":
    main()
