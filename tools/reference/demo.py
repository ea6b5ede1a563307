"""Writes testdata/goldens/demo.safetensors: runs of the embedded base and refiner in models/demo, their folders unchanged, by diffusers in float32. The refiner's
pipeline is given the base's components that its folder lacks.

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


def defaults(part):
    """The call's keywords of a folder's goxl.json."""
    with open(os.path.join(FOLDER, part, "goxl.json")) as f:
        return {k: v for k, v in json.load(f).items() if k != "trained_pixels"}


def run(pipe, tensors, name, call):
    """Keeps the final latents [1, 4, h, w] of a call, and of some the image uint8 [1, H, W, 3]; returns what the pipeline gave, a PIL image or latents."""
    last = {}

    def keep(_pipe, _i, _t, values):
        last.update(values)
        return {}

    image = pipe(generator=torch.Generator("cpu").manual_seed(SEED), callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["latents"], **call).images[0]
    assert torch.isfinite(last["latents"]).all(), name
    tensors[name + ".latents"] = last["latents"]
    if name in ("default", "wide", "redrawn", "refined"):
        tensors[name + ".image"] = torch.from_numpy(np.asarray(image)[None].copy())
    return image


def main():
    base = diffusers.StableDiffusionXLPipeline.from_pretrained(os.path.join(FOLDER, "base"), torch_dtype=torch.float32, add_watermarker=False)
    image_to_image = diffusers.StableDiffusionXLImg2ImgPipeline(**base.components, add_watermarker=False)
    assert not image_to_image.config.requires_aesthetics_score
    shared = {k: base.components[k] for k in ("text_encoder_2", "tokenizer_2", "vae")}
    refiner = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(os.path.join(FOLDER, "refiner"), torch_dtype=torch.float32, add_watermarker=False, **shared)
    assert refiner.config.requires_aesthetics_score and refiner.text_encoder is None
    for pipe in (base, image_to_image, refiner):
        pipe.set_progress_bar_config(disable=True)
    own, refine = defaults("base"), {k: v for k, v in defaults("refiner").items() if k not in ("height", "width")}
    redraw = {k: v for k, v in own.items() if k not in ("height", "width")}
    calls = {"default": dict(prompt=PROMPT, **own),
             "wide": dict(prompt="two cats", negative_prompt="blurry, a green background", width=320, height=192, num_inference_steps=8, guidance_scale=own["guidance_scale"]),
             "redrawn": dict(prompt=PROMPT, strength=0.3, **redraw),
             "refined": dict(prompt=PROMPT, **refine),
             "refined-low": dict(prompt=PROMPT, negative_prompt="blurry", aesthetic_score=2.5, negative_aesthetic_score=6.0, **{**refine, "strength": 0.3, "guidance_scale": 2.0}),
             "handed-over": dict(prompt="a rocket in the night sky", denoising_end=0.8, **own)}
    tensors = {}
    image = run(base, tensors, "default", calls["default"])
    run(base, tensors, "wide", calls["wide"])
    for name, pipe in (("redrawn", image_to_image), ("refined", refiner), ("refined-low", refiner)):
        run(pipe, tensors, name, {**calls[name], "image": image})
        calls[name]["image"] = "default.image"
    call = calls["handed-over"]
    draft = run(base, {}, "draft", {**call, "output_type": "latent"})
    rest = {k: v for k, v in call.items() if k not in ("height", "width", "denoising_end")}
    run(refiner, tensors, "handed-over", {**rest, "denoising_start": call["denoising_end"], "image": draft[None]})
    common.write("goldens/demo.safetensors", tensors, common.metadata("demo.py", seed=str(SEED), calls=calls))


if __name__ == "__main__":
    main()
