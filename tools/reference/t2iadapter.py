"""Writes testdata/goldens/t2iadapter.safetensors: T2I-Adapters of SDXL's kind on the model tiny, in float32.

    python tools/reference/t2iadapter.py

Features of each adapter, and whole runs by diffusers' pipeline. Weights are synth.py's, of the component that an adapter
is called. Metadata "nets" has each adapter's configuration and component; "cases" the whole runs with the fields of
cases.py and adapters ([{net, image, scale}, ...]); "float32_error", "change" and "image_change" are as in controlnet.py.
"""

import json

import diffusers
import numpy as np
import torch
from diffusers import MultiAdapter, T2IAdapter
from PIL import Image

import common
from cases import PROMPT
from pipelines import CLASSES

SEED = 20261130
SHAPE = dict(channels=[16, 32, 48, 48], num_res_blocks=2, downscale_factor=16, adapter_type="full_adapter_xl")
NETS = {"colour": ("t2iadapter", dict(SHAPE)), "other": ("other/t2iadapter", dict(SHAPE)), "grey": ("t2iadapter", dict(SHAPE, in_channels=1))}
made = {}


def net(name, dtype=torch.float32):
    if name not in made:
        component, config = NETS[name]
        made[name] = common.fill(T2IAdapter(**config), component)
    return made[name].to(dtype)


def adapter(net, image="a", scale=1.0):
    return dict(net=net, image=image, scale=scale)


def case(name, *adapters, **fields):
    return {"name": name, "prompt": PROMPT, "seed": 7, "steps": 4, "width": 64, "height": 48, "adapters": list(adapters), **fields}


CASES = [
    case("plain", adapter("colour")),
    case("scale", adapter("colour", scale=0.4), n=2, scheduler="euler_a"),
    case("odd", adapter("colour", "odd"), width=80, height=80),
    case("grey", adapter("grey", scale=0.8), guidance=1.0),
    case("two", adapter("colour", scale=0.7), adapter("other", "b", scale=0.5)),
]


def drawings(out):
    drawn = {}
    for name, (height, width) in {"a": (48, 64), "b": (48, 64), "odd": (61, 53)}.items():
        r = np.random.default_rng([SEED, *name.encode()])
        pixels = np.full((height, width, 3), r.integers(0, 256, 3), dtype=np.uint8)
        for _ in range(6):
            y, x = int(r.integers(0, height - 8)), int(r.integers(0, width - 8))
            pixels[y:y + int(r.integers(4, 20)), x:x + int(r.integers(4, 24))] = r.integers(0, 256, 3)
        out["image." + name] = torch.from_numpy(pixels)
        drawn[name] = Image.fromarray(pixels)
    return drawn


parts = {}
FIELDS = {"prompt": "prompt", "width": "width", "height": "height", "steps": "num_inference_steps", "guidance": "guidance_scale", "n": "num_images_per_prompt"}


def run(case, dtype, drawn, strip=False, swap=False):
    if dtype not in parts:
        parts[dtype] = common.pipeline("tiny", diffusers.StableDiffusionXLPipeline).to(dtype).components
    adapters = case["adapters"]
    nets = [net(a["net"], dtype) for a in adapters]
    pipe = diffusers.StableDiffusionXLAdapterPipeline(
        **{k: v for k, v in parts[dtype].items() if k not in ("image_encoder", "feature_extractor")},
        adapter=MultiAdapter(nets) if len(nets) > 1 else nets[0])
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = common.component("tiny", "scheduler")
    if "scheduler" in case:
        pipe.scheduler = getattr(diffusers, CLASSES[case["scheduler"]]).from_config(pipe.scheduler.config)
    images = [drawn[{"a": "b", "b": "a", "odd": "a"}[a["image"]] if swap else a["image"]] for a in adapters]
    images = [i.convert("L") if n.config.in_channels == 1 else i for i, n in zip(images, nets)]
    scales = [0.0 if strip else a["scale"] for a in adapters]
    call = {FIELDS[k]: v for k, v in case.items() if k in FIELDS}
    return pipe(image=images if len(nets) > 1 else images[0], adapter_conditioning_scale=scales if len(nets) > 1 else scales[0],
                generator=torch.Generator("cpu").manual_seed(case["seed"]), output_type="latent", **call).images


def main():
    diffusers.logging.set_verbosity_error()
    out, table = {}, []
    drawn = drawings(out)
    generator = torch.Generator("cpu").manual_seed(SEED)
    for name in NETS:
        x = torch.rand(1, net(name).config.in_channels, 80, 48, generator=generator)
        out[f"call.{name}.x"] = x
        for i, f in enumerate(net(name)(x)):
            out[f"call.{name}.{i}"] = f
    for c in CASES:
        latents, wide = run(c, torch.float32, drawn), run(c, torch.float64, drawn)
        largest = latents.abs().max()
        change = ((latents - run(c, torch.float32, drawn, strip=True)).abs().max() / largest).item()
        swapped = ((latents - run(c, torch.float32, drawn, swap=True)).abs().max() / largest).item()
        error = (latents.double() - wide.double()).abs().max().item()
        print(f"{c['name']}: {list(latents.shape)} max {largest:.3f} float32 error {error:.2e} change {change:.3f} image {swapped:.3f}")
        assert torch.isfinite(latents).all() and min(change, swapped) > 0.01, c["name"]
        out["run." + c["name"]] = latents
        table.append({**c, "float32_error": float(f"{error:.3g}"), "change": float(f"{change:.3g}"), "image_change": float(f"{swapped:.3g}")})
    nets = {name: {"config": {"_class_name": "T2IAdapter", **dict(net(name).config)}, "component": NETS[name][0]} for name in NETS}
    common.write("goldens/t2iadapter.safetensors", out, common.metadata("t2iadapter.py", seed=SEED, nets=json.loads(json.dumps(nets, default=str)), cases=table))


if __name__ == "__main__":
    main()
