"""Writes testdata/goldens/hires.safetensors: text-to-image, enlarged, and image-to-image from there, as A1111's hires fix.

    python tools/reference/hires.py

Metadata "cases" says what each run is made of. The first pass is diffusers' text-to-image, whose latents are enlarged by
torch's interpolate, or decoded, enlarged by Pillow's Lanczos filter or by spandrel with models/esrgan/testdata, and encoded
to the posterior's mean. Then their middle is cut out (modules/processing.py, sample_hr_pass), and diffusers' image-to-image
goes on with a new generator of the same seed. int(steps / strength) steps are asked for, of which the last ones are
taken (modules/sd_samplers_common.py, setup_img2img_steps). NAME is the final latents. "MODE up" and "MODE down" are interpolations of the
tensor "x" alone, up and down.
"""

import os

import diffusers
import numpy as np
import torch
from PIL import Image
from spandrel import ModelLoader
from spandrel.architectures.__arch_helpers import block

import common
from pipelines import CLASSES

PROMPT = "a lighthouse at dusk"
SEED = 11
MODES = {
    "latent": dict(mode="bilinear"), "latent (antialiased)": dict(mode="bilinear", antialias=True),
    "latent (bicubic)": dict(mode="bicubic"), "latent (bicubic antialiased)": dict(mode="bicubic", antialias=True),
    "latent (nearest)": dict(mode="nearest"), "latent (nearest-exact)": dict(mode="nearest-exact"),
}
CASES = [  # upscaled and kept are width, height
    {"name": "latent", "upscaler": "latent", "scale": 2, "upscaled": [80, 64], "kept": [80, 64], "steps": 4, "hires_steps": 4, "strength": 0.7},
    {"name": "bicubic-batch", "upscaler": "latent (bicubic antialiased)", "scale": 1.5, "upscaled": [56, 48], "kept": [56, 48], "steps": 3, "hires_steps": 5, "strength": 0.5, "n": 2},
    {"name": "cut", "upscaler": "latent (nearest-exact)", "upscaled": [80, 64], "kept": [48, 64], "steps": 3, "hires_steps": 3, "strength": 1.0, "scheduler": "euler_a"},
    {"name": "lanczos", "upscaler": "lanczos", "scale": 2, "upscaled": [80, 64], "kept": [80, 64], "steps": 3, "hires_steps": 2, "strength": 0.4},
    {"name": "esrgan", "upscaler": "unshuffle2.pth", "scale": 2.25, "upscaled": [88, 72], "kept": [88, 72], "steps": 3, "hires_steps": 3, "strength": 0.6, "scheduler": "dpmpp_2m"},
]


def enlarge_image(image, name, size):
    if name != "lanczos":
        model = ModelLoader().load_from_file(os.path.join(common.ROOT, "models", "esrgan", "testdata", name)).model.eval()
        while image.width < size[0] or image.height < size[1]:
            x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
            image = Image.fromarray((model(x).clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy())
    return image if image.size == tuple(size) else image.resize(size, Image.LANCZOS)


def enlarge(pipe, x, case):
    width, height = case["upscaled"]
    if case["upscaler"] in MODES:
        x = torch.nn.functional.interpolate(x, size=(height // 8, width // 8), **MODES[case["upscaler"]])
    else:
        images = pipe.image_processor.postprocess(pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample, output_type="pil")
        images = [enlarge_image(i, case["upscaler"], (width, height)) for i in images]
        x = pipe.vae.encode(pipe.image_processor.preprocess(images)).latent_dist.mode() * pipe.vae.config.scaling_factor
    width, height = ((a - b) // 8 for a, b in zip(case["upscaled"], case["kept"]))
    return x[:, :, height // 2:x.shape[2] - (height + 1) // 2, width // 2:x.shape[3] - (width + 1) // 2]


@torch.no_grad()
def main():
    rrdb = block.RRDB
    block.RRDB = lambda **options: rrdb(**{**options, "gc": 4})
    text = common.pipeline("tiny")
    image = diffusers.StableDiffusionXLImg2ImgPipeline(**text.components, add_watermarker=False)
    image.set_progress_bar_config(disable=True)
    tensors = {}
    for case in CASES:
        for pipe in (text, image):
            pipe.scheduler = common.component("tiny", "scheduler")
            if "scheduler" in case:
                pipe.scheduler = getattr(diffusers, CLASSES[case["scheduler"]]).from_config(pipe.scheduler.config)
        options = dict(prompt=PROMPT, num_images_per_prompt=case.get("n", 1), output_type="latent")
        x = text(num_inference_steps=case["steps"], width=40, height=32, generator=torch.Generator("cpu").manual_seed(SEED), **options).images
        x = enlarge(text, x, case)
        steps = int(case["hires_steps"] / min(case["strength"], 0.999))
        strength = min((case["hires_steps"] + 0.5) / steps, 1)
        tensors[case["name"]] = image(image=x, num_inference_steps=steps, strength=strength, generator=torch.Generator("cpu").manual_seed(SEED), **options).images
    x = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(SEED))
    tensors["x"] = x
    for name, options in MODES.items():
        tensors[name + " up"] = torch.nn.functional.interpolate(x, size=(20, 16), **options)
        tensors[name + " down"] = torch.nn.functional.interpolate(x, size=(4, 5), **options)
    common.write("goldens/hires.safetensors", tensors, common.metadata("hires.py", cases=CASES, prompt=PROMPT, seed=str(SEED)))


main()
