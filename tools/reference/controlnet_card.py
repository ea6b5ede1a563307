"""Compares full-size ControlNets, a union and a T2I-Adapter with diffusers on a card; writes nothing into the tree.

    python tools/reference/controlnet_card.py GOXL FOLDER              every case in full size, on a card, 1024x1024
    python tools/reference/controlnet_card.py GOXL FOLDER --case NAME  one of them; may be repeated
    python tools/reference/controlnet_card.py GOXL FOLDER --tiny       the same with tiny models in float32 on the CPU

GOXL is the program. FOLDER gets the models that `goxl synth` writes, 20 GB in full size, and is kept for the next time.
Needed are torch with CUDA, diffusers, transformers and accelerate as in requirements.txt, 40 GB of the card's memory, and
no network. The card computes diffusers' run in float32 (without TF32) and in float16, and goxl's in fp16, all from the
same noise: goxl's latents may be twice as far from float32's as diffusers' float16 is. On the CPU they are within 5e-5.
"""

import argparse
import os
import subprocess
import sys

import diffusers
import numpy as np
import torch
import transformers
from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter
from PIL import Image
from safetensors.torch import load_file, save_file

PROMPT, SEED, STEPS, GUIDANCE = "a lighthouse at dusk, oil on canvas", 7, 3, 5.0
CLASSES = {"controlnet": ControlNetModel, "controlnet-mid": ControlNetModel, "controlnet-small": ControlNetModel,
           "controlnet-union": ControlNetUnionModel, "controlnet-promax": ControlNetUnionModel, "t2i-adapter": T2IAdapter}
# The nets of each case with scale, start, end and a union's mode.
CASES = {
    "full": [("controlnet", 1.0, 0.0, 1.0, None)],
    "small": [("controlnet-small", 0.8, 0.0, 1.0, None)],
    "mid": [("controlnet-mid", 0.8, 0.0, 0.7, None)],
    "two": [("controlnet", 0.7, 0.0, 1.0, None), ("controlnet-small", 0.5, 0.3, 1.0, None)],
    "guess": [("controlnet", 1.0, 0.0, 1.0, None)],
    "union": [("controlnet-union", 0.9, 0.0, 1.0, 3)],
    "promax-several": [("controlnet-promax", 0.9, 0.0, 1.0, 6), ("controlnet-promax", 0.6, 0.0, 1.0, 1)],
    "t2i-adapter": [("t2i-adapter", 0.8, 0.0, 1.0, None)],
}
LOUDER = {"controlnet": 2048, "controlnet-mid": 256, "controlnet-small": 256}  # what the features of control images are multiplied by, others by 64: beside the latents' they are next to nothing else


def synth(goxl, folder, size, kind):
    path = os.path.join(folder, f"{size}-{kind}")
    if not os.path.isdir(path):
        subprocess.run([goxl, "synth", "-size", size, "-kind", kind, "-o", path], check=True, stdout=sys.stderr)
        if kind.startswith("controlnet"):
            file = os.path.join(path, "diffusion_pytorch_model.safetensors")
            tensors = load_file(file)
            tensors["controlnet_cond_embedding.conv_out.weight"] *= LOUDER.get(kind, 64)
            save_file(tensors, file, metadata={"format": "pt"})
    return path


def picture(folder, name, side):
    r = np.random.default_rng([SEED, *name.encode()])
    pixels = np.full((side, side, 3), r.integers(0, 256, 3), dtype=np.uint8)
    for _ in range(40):
        y, x = int(r.integers(0, side - 8)), int(r.integers(0, side - 8))
        pixels[y:y + int(r.integers(4, side // 3)), x:x + int(r.integers(4, side // 3))] = r.integers(0, 256, 3)
    file = os.path.join(folder, f"{name}-{side}.png")
    Image.fromarray(pixels).save(file)
    return file


def reference(case, base, nets, images, noise, side, device, dtype):
    """The latents of diffusers' pipeline."""
    load = dict(dtype=dtype)
    parts = diffusers.StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False, **load).components
    parts = {k: v for k, v in parts.items() if k not in ("image_encoder", "feature_extractor")}
    kinds = list(dict.fromkeys(kind for kind, *_ in nets))
    models = [CLASSES[kind].from_pretrained(path, **load) for kind, path in {kind: nets_path(base, kind) for kind in kinds}.items()]
    pictures = [Image.open(i) for i in images[:len(nets)]]
    call = {}
    if kinds[0] == "t2i-adapter":
        pipe = diffusers.StableDiffusionXLAdapterPipeline(**parts, adapter=models[0])
        call = dict(image=pictures[0], adapter_conditioning_scale=nets[0][1])
    else:
        union = "union" in kinds[0] or "promax" in kinds[0]
        cls = diffusers.StableDiffusionXLControlNetUnionPipeline if union else diffusers.StableDiffusionXLControlNetPipeline
        pipe = cls(**parts, controlnet=models if len(models) > 1 else models[0], add_watermarker=False)
        one = len(nets) == 1 and not union
        values = {key: [n[i] for n in nets] for i, key in ((1, "controlnet_conditioning_scale"), (2, "control_guidance_start"), (3, "control_guidance_end"))}
        call = {k: v[0] if one else v for k, v in values.items()}
        call["control_image" if union else "image"] = pictures[0] if one else pictures
        if union:
            call["control_mode"] = [n[4] for n in nets]
        call["guess_mode"] = case == "guess"
    pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    latents = pipe(prompt=PROMPT, width=side, height=side, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
                   latents=noise.to(device, dtype), output_type="latent", **call).images
    return latents.double().cpu()


def nets_path(base, kind):
    return os.path.join(os.path.dirname(base), os.path.basename(base).replace("base", kind))


def ours(goxl, folder, case, base, nets, images, noise_file, side, flags):
    out = os.path.join(folder, "latents.safetensors")
    args = [goxl, "generate", "-model", base, "-prompt", PROMPT, "-width", str(side), "-height", str(side), "-steps", str(STEPS), "-guidance", str(GUIDANCE),
            "-seed", str(SEED), "-latents", noise_file, "-save-latents", out, "-o", os.path.join(folder, "out.png"), "-quiet", *flags]
    for (kind, scale, start, end, mode), image in zip(nets, images):
        path = nets_path(base, kind)
        if kind == "t2i-adapter":
            args += ["-t2i-adapter", f"{path}:{scale}", "-t2i-image", image]
            continue
        args += ["-control", f"{path}:{scale}:{start}:{end}", "-control-image", image]
        args += ["-control-mode", str(mode)] if mode is not None else []
        args += ["-control-guess"] if case == "guess" else []
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
    return load_file(out)["latents"].double()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("goxl")
    p.add_argument("folder")
    p.add_argument("--case", action="append", choices=list(CASES))
    p.add_argument("--tiny", action="store_true")
    a = p.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_grad_enabled(False)
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.disable_progress_bar()
    size, side, device = ("tiny", 64, "cpu") if a.tiny else ("full", 1024, "cuda")
    os.makedirs(a.folder, exist_ok=True)
    base = synth(a.goxl, a.folder, size, "base")
    images = [picture(a.folder, name, side) for name in "ab"]
    noise = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator("cpu").manual_seed(SEED))
    noise_file = os.path.join(a.folder, "noise.safetensors")
    save_file({"latents": noise}, noise_file)
    failed = []
    for case in a.case or CASES:
        nets = CASES[case]
        for kind, *_ in nets:
            synth(a.goxl, a.folder, size, kind)
        wide = reference(case, base, nets, images, noise, side, device, torch.float32)
        swapped = reference(case, base, nets, images[::-1], noise, side, device, torch.float32)
        got = ours(a.goxl, a.folder, case, base, nets, images, noise_file, side, ["-device", "cpu", "-precision", "fp32"] if a.tiny else ["-device", "cuda", "-precision", "fp16"])
        error, image = ((x - wide).norm() / wide.norm() for x in (got, swapped))
        allowed = 5e-5
        if not a.tiny:
            half = reference(case, base, nets, images, noise, side, device, torch.float16)
            allowed = 2 * ((half - wide).norm() / wide.norm()).item()
            torch.cuda.empty_cache()
        ok = error <= allowed and image > 0.01
        print(f"{case}: error {error:.3g}, allowed {allowed:.3g}, another image moves it by {image:.3g}: {'ok' if ok else 'FAILED'}", flush=True)
        if not ok:
            failed.append(case)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
