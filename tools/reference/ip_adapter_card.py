"""Compares goxl with diffusers on IP-Adapters and image encoders of full size.

    python tools/reference/ip_adapter_card.py GOXL DIR [tiny]

GOXL is the program. DIR gets what `goxl synth` writes, 14 GB, unless it is there. For ip-adapter_sdxl with ViT-bigG/14,
ip-adapter_sdxl_vit-h and ip-adapter-plus_sdxl_vit-h with ViT-H/14, four steps at 512×512 from the same noise give final
latents by diffusers in float32, by diffusers in float16 and by goxl in float16, on the card. Printed is how far the two
are from float32; goxl may be twice as far as diffusers. The exit status is 1 where it is further. With "tiny" it is the
tiny model on the CPU in float32, to try this script: goxl may be 5e-5 from diffusers.
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

ADAPTERS = {"ip-adapter_sdxl": "sdxl_models/image_encoder", "ip-adapter_sdxl_vit-h": "models/image_encoder",
            "ip-adapter-plus_sdxl_vit-h": "models/image_encoder"}
STEPS, SCALE, PROMPT = 4, 0.8, "a lighthouse at dusk"


def picture(path):
    """A deterministic reference image."""
    y, x = np.mgrid[0:300, 0:420]
    rgb = np.stack([127 + 120 * np.sin(x / 31), 127 + 120 * np.cos(y / 23 + x / 57), (x * y) % 256], axis=-1)
    Image.fromarray(rgb.round().astype(np.uint8)).save(path)


def diffusers_latents(folder, adapter, encoder, image, noise, dtype, device):
    torch.set_grad_enabled(False)
    model = CLIPVisionModelWithProjection.from_pretrained(encoder, dtype=dtype)
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=dtype, image_encoder=model, add_watermarker=False,
                                                     feature_extractor=CLIPImageProcessorPil(size=model.config.image_size, crop_size=model.config.image_size))
    file = load_file(adapter)
    parts = {part: {k.removeprefix(part + "."): v.to(dtype) for k, v in file.items() if k.startswith(part + ".")} for part in ("image_proj", "ip_adapter")}
    pipe.load_ip_adapter(parts, subfolder="", weight_name="", image_encoder_folder=None)
    pipe.set_ip_adapter_scale(SCALE)
    pipe.to(device).set_progress_bar_config(disable=True)
    start = time.time()
    latents = pipe(PROMPT, ip_adapter_image=Image.open(image), latents=noise.to(device, dtype), num_inference_steps=STEPS, guidance_scale=5.0,
                   height=8 * noise.shape[2], width=8 * noise.shape[3], output_type="latent").images
    print(f"  diffusers in {dtype}: {time.time() - start:.2f} s for {STEPS} steps", flush=True)
    return latents.float().cpu()


def main(goxl, work, tiny):
    size, device = ("tiny", "cpu") if tiny else ("full", "cuda")
    base, adapters = os.path.join(work, "base"), os.path.join(work, "adapters")
    for kind, path in (("base", base), ("ip-adapter", adapters)):
        if not os.path.isdir(path):
            subprocess.run([goxl, "synth", "-size", size, "-kind", kind, "-o", path], check=True)
    image, noise_file, out = (os.path.join(work, n) for n in ("picture.png", "noise.safetensors", "latents.safetensors"))
    picture(image)
    side = 8 if tiny else 64
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(7))
    save_file({"latents": noise}, noise_file)
    failed = False
    for name, encoder in ADAPTERS.items():
        print(name, flush=True)
        file = os.path.join(adapters, "sdxl_models", name + ".safetensors")
        subprocess.run([goxl, "generate", "-model", base, "-device", device, "-precision", "fp32" if tiny else "fp16", "-prompt", PROMPT, "-latents", noise_file,
                        "-seed", "7", "-steps", str(STEPS), "-guidance", "5", "-width", str(8 * side), "-height", str(8 * side), "-ip-adapter", f"{file}:{SCALE}",
                        "-ip-image", image, "-save-latents", out, "-o", os.path.join(work, "image.png")], check=True)
        own = load_file(out)["latents"]
        wide = diffusers_latents(base, file, os.path.join(adapters, encoder), image, noise, torch.float32, device)
        far = lambda x: float((x.double() - wide.double()).norm() / wide.double().norm())
        if tiny:
            allowed = 5e-5
        else:
            theirs = far(diffusers_latents(base, file, os.path.join(adapters, encoder), image, noise, torch.float16, device))
            allowed = 2 * theirs
        failed |= not far(own) <= allowed
        print(json.dumps({"adapter": name, "goxl": far(own), "allowed": allowed, "ok": far(own) <= allowed}), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:] == ["tiny"]))
