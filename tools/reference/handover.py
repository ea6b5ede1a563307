"""Writes testdata/goldens/handover.safetensors: runs in which a pipeline has no step to do, and passes its latents on.

    python tools/reference/handover.py

Every case of metadata "cases" is a run of tiny up to denoising_end, of tiny-refiner from there, or of tiny-refiner alone on an image. NAME.base holds
the latents that the base leaves, NAME the final ones; base_steps_done counts the calls of the base's UNet, steps_done those of both.
"""

import os

import diffusers
import torch
from PIL import Image

import cases
import common
from pipelines import CLASSES

PROMPT = "a lighthouse at dusk"
CASES = [
    {"name": "refiner-none", "denoising_end": 0.8, "steps": 3, "scheduler": "dpmpp_2m"},
    {"name": "base-none-one-step", "denoising_end": 0.8, "steps": 1},
    {"name": "base-none", "denoising_end": 0.05, "steps": 10},
    {"name": "base-none-heun", "denoising_end": 0.05, "steps": 4, "scheduler": "heun"},
    {"name": "base-none-batch", "denoising_end": 0.05, "steps": 4, "scheduler": "euler_a", "n": 2},
    {"name": "refiner-none-unipc", "denoising_end": 0.97, "steps": 4, "scheduler": "unipc"},
    {"name": "image-none", "strength": 0.3, "denoising_end": 0.2, "steps": 10, "input_image": cases.IMAGE},
    {"name": "image-none-ddim", "strength": 0.5, "denoising_end": 0.2, "steps": 6, "scheduler": "ddim", "input_image": cases.IMAGE},
]


def main():
    pipes = {"tiny": common.pipeline("tiny"), "tiny-refiner": common.pipeline("tiny-refiner", diffusers.StableDiffusionXLImg2ImgPipeline)}
    calls = dict.fromkeys(pipes, 0)
    for name, pipe in pipes.items():
        def count(_module, _arguments, name=name):
            calls[name] += 1
        pipe.unet.register_forward_pre_hook(count)

    def run(name, case, **options):
        pipe = pipes[name]
        pipe.scheduler = common.component(name, "scheduler")
        if "scheduler" in case:
            pipe.scheduler = getattr(diffusers, CLASSES[case["scheduler"]]).from_config(pipe.scheduler.config)
        calls[name] = 0
        return pipe(prompt=PROMPT, num_inference_steps=case["steps"], num_images_per_prompt=case.get("n", 1),
                    generator=torch.Generator("cpu").manual_seed(11), output_type="latent", **options).images

    table, tensors = [], {}
    for case in CASES:
        name, end = case["name"], case["denoising_end"]
        if "input_image" in case:
            image = Image.open(os.path.join(common.TESTDATA, case["input_image"]))
            tensors[name] = run("tiny-refiner", case, image=image, strength=case["strength"], denoising_end=end)
            table.append({**case, "steps_done": calls["tiny-refiner"]})
            continue
        base = run("tiny", case, denoising_end=end, width=40, height=32)
        tensors[name + ".base"], done = base, calls["tiny"]
        tensors[name] = run("tiny-refiner", case, image=base, denoising_start=end)
        table.append({**case, "base_steps_done": done, "steps_done": done + calls["tiny-refiner"]})
    for case in table:
        print(case)
    common.write("goldens/handover.safetensors", tensors, common.metadata("handover.py", cases=table, prompt=PROMPT, seed="11"))


if __name__ == "__main__":
    main()
