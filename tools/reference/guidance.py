"""Writes testdata/goldens/guidance.safetensors: an interval of guidance, perturbed attention guidance (PAG) and FreeU.

    python tools/reference/guidance.py          every case
    python tools/reference/guidance.py NAME...  those cases only, printed and not written

Whole runs on the tiny models, in float32. An interval is that of diffusers' guider ClassifierFreeGuidance, in the modular
pipeline; PAG is that of the pipelines StableDiffusionXLPAG*, FreeU is enable_freeu. Images, masks and ControlNets are
controlnet.py's, IP-Adapters ip_adapter.py's. The models tiny-inpaint and tiny-headless are tiny with nine input channels, and
without a middle.

Metadata "cases" lists them with the fields of cases.py and these: interval (start, end); pag (scale), pag_adaptive,
pag_layers; freeu (s1, s2, b1, b2); init, mask (images of controlnet.py); controls (nets of controlnet.py with an image and
a scale); ip (adapters of ip_adapter.py with their images), seeds. "float32_error" is as in pipelines.json, "change" how
far the latents are from those without what the case is about, relative to their largest.
"""

import os
import sys

import diffusers
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.guiders import ClassifierFreeGuidance
from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks

import common
import controlnet
import ip_adapter
from cases import PROMPT
from pipelines import CLASSES, PAIRS, PLAIN

BOTH = ["mid", "up_blocks.0"]
FREEU = [0.9, 0.2, 1.3, 1.4]
SUBJECT = {"interval", "pag", "pag_adaptive", "pag_layers", "freeu"}
OWN = {"name", "model", "seed", "seeds", "scheduler", "init", "mask", "controls", "ip"}
CHANGED = {"tiny-inpaint": dict(in_channels=9), "tiny-headless": dict(mid_block_type=None)}
parts, nets, zeros = {}, {}, {}


def case(name, model="tiny", **fields):
    size = {} if "init" in fields else {"width": 48, "height": 40}
    return {"name": name, "model": model, "prompt": PROMPT, "seed": 1, "steps": 5, **size, **fields}


def intervals():
    yield case("interval", interval=[0.3, 0.8], steps=7, negative="blurry")
    yield case("interval-start", interval=[0.5, 1.0])
    yield case("interval-end", interval=[0.0, 0.4], n=2)
    yield case("interval-never", interval=[0.3, 0.35])
    yield case("interval-dpmpp_2m", interval=[0.2, 0.7], steps=8, scheduler="dpmpp_2m")
    yield case("interval-euler_a", interval=[0.2, 0.7], steps=6, scheduler="euler_a")
    yield case("interval-rescale", interval=[0.2, 0.7], guidance=7.5, guidance_rescale=0.7)
    yield case("interval-image", interval=[0.3, 0.7], init="b", strength=0.6, steps=9)
    yield case("interval-denoising-end", interval=[0.3, 0.7], denoising_end=0.6, steps=9)
    yield case("interval-control", interval=[0.3, 0.8], steps=6, controls=[["full", "a", 0.8]])


def perturbed():
    yield case("pag", pag=3.0)
    yield case("pag-batch", pag=3.0, n=2, negative="blurry")
    yield case("pag-seeds", pag=2.0, n=2, seeds=[8, 9], scheduler="euler_a")
    yield case("pag-strong", pag=20.0, guidance=1.5)
    yield case("pag-unguided", pag=3.0, guidance=1.0)
    yield case("pag-unguided-batch", pag=3.0, guidance=0.0, n=2)
    yield case("pag-adaptive", pag=3.0, pag_adaptive=0.005, steps=7)
    yield case("pag-adaptive-unguided", pag=3.0, pag_adaptive=0.005, steps=7, guidance=1.0)
    yield case("pag-rescale", pag=3.0, guidance=7.5, guidance_rescale=0.7, n=2)
    yield case("pag-layers", pag=3.0, pag_layers=["down_blocks.1", "up_blocks.0.attentions.1"])
    yield case("pag-expression", pag=3.0, pag_layers=["(mid|up)_block.*attentions.0.transformer_blocks.0"])
    yield case("pag-heun", pag=3.0, scheduler="heun", steps=4)
    yield case("pag-dpmpp_2m", pag=3.0, scheduler="dpmpp_2m")
    yield case("pag-negative-sizes", pag=3.0, n=2, negative_original_size=[256, 128], negative_target_size=[1024, 900], negative_crop=[8, 4])
    yield case("pag-b", "tiny-b", pag=3.0, pag_layers=["up_blocks.0"])
    yield case("pag-c", "tiny-c", pag=12.0, width=32, height=24, scheduler="lcm", steps=4)
    yield case("pag-refiner", "tiny-refiner", pag=3.0, pag_layers=["down_blocks.1", "up"], init="b", strength=0.5, steps=8)
    yield case("pag-image", pag=3.0, init="b", strength=0.5, steps=8, n=2)
    yield case("pag-inpaint", pag=3.0, init="b", mask="mask", strength=0.7, guidance=5.0, n=2)
    yield case("pag-inpaint-nine", "tiny-inpaint", pag=3.0, init="b", mask="mask", strength=0.7, guidance=5.0, n=2)
    yield case("pag-inpaint-unguided", "tiny-inpaint", pag=3.0, init="b", mask="mask", strength=1.0, guidance=1.0)
    yield case("pag-control", pag=3.0, pag_layers=BOTH, controls=[["full", "a", 0.8]])
    yield case("pag-control-two", pag=3.0, pag_layers=BOTH, controls=[["full", "a", 0.6], ["other", "b", 0.9]], n=2)
    yield case("pag-control-unguided", pag=3.0, pag_layers=BOTH, controls=[["full", "a", 0.8]], guidance=1.0)
    yield case("pag-control-image", pag=3.0, pag_layers=BOTH, controls=[["full", "a", 0.8]], init="b", strength=0.6)
    yield case("pag-ip", pag=3.0, pag_layers=BOTH, ip=[["base", ["a"], 0.8]])
    yield case("pag-ip-unguided", pag=3.0, pag_layers=BOTH, ip=[["base", ["a"], 0.8]], guidance=1.0)
    yield case("pag-ip-two", pag=3.0, pag_layers=BOTH, ip=[["base", ["a"], 0.7], ["plus", ["b", "c"], 0.6]], n=2)
    yield case("pag-ip-image", pag=3.0, pag_layers=BOTH, ip=[["base", ["a"], 0.8]], init="b", strength=0.6)
    yield case("pag-ip-control", pag=3.0, pag_layers=BOTH, ip=[["base", ["a"], 0.8]], controls=[["full", "a", 0.8]])


def free():
    yield case("freeu", freeu=FREEU)
    yield case("freeu-inverse", freeu=[1.6, 1.3, 0.7, 0.8], n=2)
    yield case("freeu-first", freeu=[0.2, 1.0, 1.3, 1.0])
    yield case("freeu-second", freeu=[1.0, 0.2, 1.0, 1.4])
    yield case("freeu-unguided", freeu=FREEU, guidance=1.0)
    yield case("freeu-square", freeu=FREEU, width=64, height=64)
    yield case("freeu-large", freeu=FREEU, width=136, height=104, steps=3)
    yield case("freeu-one-latent", freeu=FREEU, width=8, height=8)
    yield case("freeu-row", freeu=FREEU, width=64, height=8)
    yield case("freeu-column", freeu=FREEU, width=16, height=72)
    yield case("freeu-b", "tiny-b", freeu=FREEU)
    yield case("freeu-c", "tiny-c", freeu=FREEU, width=48, height=32, scheduler="lcm", steps=4)
    yield case("freeu-headless", "tiny-headless", freeu=FREEU)
    yield case("freeu-refiner", "tiny-refiner", freeu=FREEU, init="b", strength=0.5, steps=8)
    yield case("freeu-image", freeu=FREEU, init="b", strength=0.5, steps=8)
    yield case("freeu-inpaint", "tiny-inpaint", freeu=FREEU, init="b", mask="mask", strength=0.7, guidance=5.0)
    yield case("freeu-control", freeu=FREEU, controls=[["full", "a", 0.8]])
    yield case("freeu-headless-pag", "tiny-headless", freeu=FREEU, pag=3.0, pag_layers=["down"])
    yield case("freeu-pag", freeu=FREEU, pag=3.0)
    yield case("freeu-pag-unguided", freeu=FREEU, pag=3.0, guidance=1.0)
    yield case("freeu-heun", freeu=FREEU, scheduler="heun", steps=4)


def components(model, dtype):
    """A model's parts with a UNet of its own, which FreeU and PAG change."""
    if (model, dtype) not in parts:
        base = "tiny" if model in CHANGED else model
        pipe = common.pipeline(base, diffusers.StableDiffusionXLPipeline).to(dtype)
        unet = pipe.unet
        if model in CHANGED:
            config = dict(diffusers.UNet2DConditionModel.load_config(os.path.join(common.folder(base), "unet")), **CHANGED[model])
            unet = common.fill(diffusers.UNet2DConditionModel.from_config(config), "unet").to(dtype)
        zeros[model] = pipe.config.force_zeros_for_empty_prompt
        parts[model, dtype] = {**{k: v for k, v in pipe.components.items() if k not in ("image_encoder", "feature_extractor")}, "unet": unet}
    return {**parts[model, dtype], "scheduler": common.component("tiny" if model in CHANGED else model, "scheduler")}


def net(name, dtype):
    """A ControlNet, which must not be the one whose type another call has changed."""
    if (name, dtype) not in nets:
        controlnet.made.pop(name, None)
        nets[name, dtype] = controlnet.net(name).to(dtype)
        controlnet.made.pop(name)
    return nets[name, dtype]


def pipe_for(c, dtype):
    own = components(c["model"], dtype)
    if "scheduler" in c:
        own["scheduler"] = getattr(diffusers, CLASSES[c["scheduler"]]).from_config(own["scheduler"].config)
    if "controls" in c:
        models = [net(n, dtype) for n, _, _ in c["controls"]]
        own["controlnet"] = models if len(models) > 1 else models[0]
    if "interval" in c:
        pipe = StableDiffusionXLAutoBlocks().init_pipeline()
        guider = ClassifierFreeGuidance(c.get("guidance", 5.0), c.get("guidance_rescale", 0.0), start=c["interval"][0], stop=c["interval"][1])
        pipe.update_components(**{k: v for k, v in own.items() if v is not None}, guider=guider)
        pipe.set_progress_bar_config(disable=True)
        return pipe
    pag = "PAG" if "pag" in c else ""
    task = "Inpaint" if "mask" in c else "Img2Img" if "init" in c else ""
    name = f"StableDiffusionXLControlNet{pag}{task}Pipeline" if "controls" in c else f"StableDiffusionXL{pag}{task}Pipeline"
    options = {"pag_applied_layers": c.get("pag_layers", "mid")} if pag else {}
    options["force_zeros_for_empty_prompt"] = zeros[c["model"]]
    if c["model"] == "tiny-refiner":
        options["requires_aesthetics_score"] = True
    pipe = getattr(diffusers, name)(**own, **options, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    if "ip" in c:
        pipe.register_modules(image_encoder=ip_adapter.vision("encoder-a"),
                              feature_extractor=ip_adapter.CLIPImageProcessorPil(size=32, crop_size=32))
        pipe.load_ip_adapter([ip_adapter.adapter(a) for a, _, _ in c["ip"]], subfolder=[""] * len(c["ip"]),
                             weight_name=[""] * len(c["ip"]), image_encoder_folder=None, low_cpu_mem_usage=False)
        pipe.set_ip_adapter_scale([scale for _, _, scale in c["ip"]])
    return pipe


def run(c, dtype, drawn):
    """The final latents [n, C, h, w]."""
    assert not set(c) - set(PLAIN) - set(PAIRS) - SUBJECT - OWN, c
    call = {PLAIN[k]: v for k, v in c.items() if k in PLAIN}
    call.update({PAIRS[k]: tuple(v) for k, v in c.items() if k in PAIRS})
    if "pag" in c:
        call.update(pag_scale=c["pag"], pag_adaptive_scale=c.get("pag_adaptive", 0.0))
    if "init" in c:
        call["image"] = drawn[c["init"]]
    if "mask" in c:
        call.update(mask_image=drawn[c["mask"]].convert("L"), width=48, height=40)
    if "controls" in c:
        images, scales = [drawn[i] for _, i, _ in c["controls"]], [s for _, _, s in c["controls"]]
        call["control_image" if "init" in c or "interval" in c else "image"] = images if len(images) > 1 else images[0]
        call["controlnet_conditioning_scale"] = scales if len(scales) > 1 else scales[0]
    if "ip" in c:
        stored = ip_adapter.pictures()
        call["ip_adapter_image"] = [[ip_adapter.pil(stored["image/" + i]) for i in images] for _, images, _ in c["ip"]]
    pipe = pipe_for(c, dtype)
    if "interval" in c:
        for k in ("guidance_scale", "guidance_rescale"):
            call.pop(k, None)
        call["output"] = "images"
    generator = [torch.Generator("cpu").manual_seed(s) for s in c["seeds"]] if "seeds" in c else torch.Generator("cpu").manual_seed(c["seed"])
    unet = parts[c["model"], dtype]["unet"]
    if "freeu" in c:
        unet.enable_freeu(**dict(zip(("s1", "s2", "b1", "b2"), c["freeu"])))
    try:
        out = pipe(generator=generator, output_type="latent", **call)
    finally:
        unet.disable_freeu()
        if "ip" in c:
            pipe.unload_ip_adapter()
        unet.set_attn_processor(AttnProcessor2_0())  # which some pipelines of PAG do not put back
    return out if "interval" in c else out.images


def changed(a, b):
    return ((a - b).abs().max() / a.abs().max()).item()


def main():
    diffusers.logging.set_verbosity_error()
    wanted, table, out = sys.argv[1:], [], {}
    drawn = controlnet.images({})
    for c in [*intervals(), *perturbed(), *free()]:
        name = c["name"]
        if wanted and name not in wanted:
            continue
        latents = run(c, torch.float32, drawn)
        assert torch.isfinite(latents).all(), name
        without = run({k: v for k, v in c.items() if k not in SUBJECT}, torch.float32, drawn)
        entry = {**c, "change": float(f"{changed(latents, without):.3g}")}
        if "ip" not in c:  # whose encoder stays float32
            entry["float32_error"] = float(f"{(latents.double() - run(c, torch.float64, drawn)).abs().max().item():.3g}")
        assert entry["change"] > 0.01, (name, entry["change"])
        out[name] = latents.float()
        table.append(entry)
        print(f"{name}: {list(latents.shape)} max {latents.abs().max():.3f} float32 error {entry.get('float32_error', 0):.1e} change {entry['change']:.3f}", flush=True)
    if not wanted:
        common.write("goldens/guidance.safetensors", out, common.metadata("guidance.py", cases=table))


if __name__ == "__main__":
    main()
