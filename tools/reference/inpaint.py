"""Writes testdata/goldens/inpaint.safetensors and inpaint.json: runs of diffusers' StableDiffusionXLInpaintPipeline on tiny models, soft masks by ComfyUI's
rule, and what Pillow, diffusers and A1111 do to images and masks.

    python tools/reference/inpaint.py

Soft masks are written anew from what ComfyUI computes (comfy_extras/nodes_differential_diffusion.py at strength 1, comfy/samplers.py KSamplerX0Inpaint), with
Euler: before the model sees the latents, those where mask < t/t_first are the original with noise, and x0 is the original there. fill is A1111's
modules/masking.py, likewise. The inpainting pipeline forgets a VAE's latents_mean and latents_std where it encodes, though not where it decodes: here it
has them, as the image-to-image pipeline does."""

import json
import os

import diffusers
import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from diffusers.image_processor import VaeImageProcessor

import common
from modules import random_image

diffusers.logging.set_verbosity_error()
PROMPT = "a red lighthouse"
tensors, table = {}, []


def image(height, width, seed):
    pixels = random_image(1, height, width, torch.Generator("cpu").manual_seed(seed))[0].permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels)


def mask(height, width, box, soft=0):
    """A white box on black; with soft, a ramp of so many pixels at its left."""
    m = np.zeros((height, width), np.uint8)
    x1, y1, x2, y2 = box
    m[y1:y2, x1:x2] = 255
    for i in range(soft):
        m[y1:y2, x1 + i] = 255 * (i + 1) // (soft + 1)
    return Image.fromarray(m)


def keep(name, picture):
    tensors[name] = torch.from_numpy(np.asarray(picture).copy())


def inpainting_unet():
    """The tiny UNet with nine input channels."""
    config = dict(diffusers.UNet2DConditionModel.load_config(os.path.join(common.folder("tiny"), "unet")), in_channels=9)
    return common.fill(diffusers.UNet2DConditionModel.from_config(config), "unet")


def pipe_of(model):
    pipe = common.pipeline("tiny" if model == "tiny-inpaint" else model, diffusers.StableDiffusionXLInpaintPipeline)
    if model == "tiny-inpaint":
        pipe.unet = inpainting_unet()
    config = pipe.vae.config
    if getattr(config, "latents_mean", None) is not None:
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (config.latents_mean, config.latents_std))
        encode = pipe._encode_vae_image
        pipe._encode_vae_image = lambda image, generator: (encode(image, generator) / config.scaling_factor - mean) * config.scaling_factor / std
    return pipe


CLASSES = {"": None, "euler_a": "EulerAncestralDiscreteScheduler", "heun": "HeunDiscreteScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler",
           "ddim": "DDIMScheduler", "unipc": "UniPCMultistepScheduler"}


def run(name, model="tiny", scheduler="", picture="image", hole="mask", seed=7, seeds=None, pixels=False, latents=None, **call):
    pipe = pipe_of(model)
    if scheduler:
        pipe.scheduler = getattr(diffusers, CLASSES[scheduler]).from_config(pipe.scheduler.config)
    last = {}

    def remember(_pipe, _i, _t, values):
        last.update(values)
        return {}

    source = Image.fromarray(tensors[picture].numpy())
    width, height = call.get("width", source.width // 8 * 8), call.get("height", source.height // 8 * 8)
    given = {"prompt": PROMPT, "num_inference_steps": 6, "guidance_scale": 5.0, "strength": 0.7, **call, "width": width, "height": height}
    out = pipe(image=source if latents is None else tensors[latents], mask_image=Image.fromarray(tensors[hole].numpy()),
               generator=torch.Generator("cpu").manual_seed(seed), callback_on_step_end=remember, callback_on_step_end_tensor_inputs=["latents"],
               output_type="pil" if pixels else "latent", **given).images
    tensors[name + ".latents"] = last["latents"].float()
    if pixels:
        keep(name + ".image", out[0])
    table.append({"name": name, "model": model, "scheduler": scheduler, "image": picture, "mask": hole, "seed": seed, "from": latents or "",
                  "steps": given["num_inference_steps"], "strength": 0 if "denoising_start" in call else given["strength"], "n": call.get("num_images_per_prompt", 1),
                  "width": call.get("width", 0), "height": call.get("height", 0), "padding": call.get("padding_mask_crop"),
                  "denoising_start": call.get("denoising_start", 0), "denoising_end": call.get("denoising_end", 0)})
    print(name, list(last["latents"].shape), float(last["latents"].abs().max()), flush=True)


def soft(name, strength, seed=7, steps=6):
    """ComfyUI's rule with Euler; draws are those of the inpainting pipeline: posterior of the image, noise."""
    pipe = pipe_of("tiny")
    generator = torch.Generator("cpu").manual_seed(seed)
    source, hole = Image.fromarray(tensors["image"].numpy()), Image.fromarray(tensors["ramp"].numpy())
    embeds, negative, pooled, negative_pooled = pipe.encode_prompt(prompt=PROMPT, do_classifier_free_guidance=True)
    pipe.scheduler.set_timesteps(steps)
    begin = steps - min(int(steps * strength), steps)
    original = pipe._encode_vae_image(pipe.image_processor.preprocess(source), generator)
    noise = torch.randn(original.shape, generator=generator)
    amount = torch.nn.functional.interpolate(torch.from_numpy(np.asarray(hole).copy()).float()[None, None] / 255, size=original.shape[2:], mode="bilinear")
    h, w = source.height, source.width
    ids = torch.tensor([[h, w, 0, 0, h, w]] * 2, dtype=torch.float32)
    timesteps, sigmas = pipe.scheduler.timesteps[begin:], pipe.scheduler.sigmas[begin:]
    x = original + sigmas[0] * noise
    for i, t in enumerate(timesteps):
        active = (amount >= t / timesteps[0]).float()
        x = x * active + (original + sigmas[i] * noise) * (1 - active)
        scaled = torch.cat([x / (sigmas[i] ** 2 + 1) ** 0.5] * 2)
        out = pipe.unet(scaled, t, encoder_hidden_states=torch.cat([negative, embeds]),
                        added_cond_kwargs={"text_embeds": torch.cat([negative_pooled, pooled]), "time_ids": ids}).sample
        u, c = out.chunk(2)
        x0 = x - sigmas[i] * (u + 5.0 * (c - u))
        x0 = x0 * active + original * (1 - active)
        x = x + (x - x0) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
    tensors[name + ".latents"] = x
    table.append({"name": name, "model": "tiny", "scheduler": "euler", "image": "image", "mask": "ramp", "seed": seed, "from": "", "steps": steps,
                  "strength": strength, "n": 1, "width": 0, "height": 0, "padding": None, "denoising_start": 0, "denoising_end": 0, "soft": True})
    print(name, float(x.abs().max()), int(amount.unique().numel()), "levels", flush=True)


def fill(picture, hole):
    result = Image.new("RGBA", picture.size)
    masked = Image.new("RGBa", picture.size)
    masked.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(hole.convert("L")))
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        blurred = masked.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(blurred)
    return result.convert("RGB")


def pillow():
    source, hole = Image.fromarray(tensors["odd"].numpy()), Image.fromarray(tensors["odd mask"].numpy())
    for radius in (0.4, 1, 2.5, 4, 16, 40):
        keep(f"blur {radius}", hole.convert("RGB").filter(ImageFilter.GaussianBlur(radius)))
    processor = VaeImageProcessor(vae_scale_factor=8)
    other = Image.fromarray(tensors["image"].numpy())
    for mode in ("fill", "crop"):
        for width, height in ((64, 64), (96, 40), (40, 97), (33, 80)):
            keep(f"{mode} {width} {height}", processor.resize(source, height, width, resize_mode=mode))
    keep("filled", fill(source, hole))
    keep("overlay", processor.apply_overlay(hole, source, other.resize(source.size)))
    keep("overlay under", other.resize(source.size))
    regions = []
    for height, width, box in ((200, 300, (10, 20, 40, 30)), (200, 300, (280, 150, 300, 200)), (61, 70, (0, 0, 70, 3)), (61, 70, (3, 0, 4, 61)), (64, 72, (30, 30, 31, 31))):
        for w, h in ((64, 64), (128, 64), (72, 136)):
            for pad in (0, 5, 32):
                regions.append([height, width, *box, w, h, pad, *(int(v) for v in VaeImageProcessor.get_crop_region(mask(height, width, box), w, h, pad))])
    tensors["crop regions"] = torch.tensor(regions)


def main():
    keep("image", image(64, 72, 1))
    keep("mask", mask(64, 72, (24, 16, 56, 48)))
    keep("odd", image(61, 70, 2))
    keep("odd mask", mask(61, 70, (20, 11, 50, 44), soft=7))
    keep("ramp", mask(64, 72, (8, 0, 72, 64), soft=60))
    pillow()
    run("strength 0.7")
    run("strength 1", strength=1.0)
    run("two images", scheduler="dpmpp_2m", num_images_per_prompt=2)
    run("euler_a", scheduler="euler_a")
    run("heun", scheduler="heun")
    run("ddim", scheduler="ddim", strength=1.0)
    run("unipc", scheduler="unipc")
    run("odd", picture="odd", hole="odd mask", pixels=True)
    run("padding", picture="odd", hole="odd mask", width=64, height=64, padding_mask_crop=6, pixels=True)
    run("refiner", model="tiny-refiner")
    run("v-prediction", model="tiny-b")
    run("nine channels", model="tiny-inpaint")
    run("nine channels at strength 1", model="tiny-inpaint", strength=1.0, num_images_per_prompt=2)
    run("first expert", denoising_end=0.5, strength=1.0)
    run("second expert", model="tiny-refiner", denoising_start=0.5, latents="first expert.latents")
    soft("soft", 1.0)
    soft("soft 0.7", 0.7)
    a, b = tensors["soft.latents"], tensors["strength 1.latents"]
    assert (a - b).abs().max() > 0.1
    meta = common.metadata("inpaint.py")
    common.write("goldens/inpaint.safetensors", tensors, meta)
    with open(os.path.join(common.TESTDATA, "goldens", "inpaint.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c) for c in table) + "\n]\n")


if __name__ == "__main__":
    main()
