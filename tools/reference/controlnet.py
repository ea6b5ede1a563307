"""Writes testdata/goldens/controlnet.safetensors: ControlNets of every kind on the model tiny, in float32.

    python tools/reference/controlnet.py          every case
    python tools/reference/controlnet.py NAME...  those whole runs only, printed and not written

Single calls of each net, and whole runs by diffusers' pipelines. Weights are synth.py's, of the component that a net is
called. Metadata "nets" has each net's config.json and component; "calls" the kinds of hints of each call; "cases" the
whole runs with the fields of cases.py and these:

controls ([{net, image, scale, start, end, mode}, ...]); guess (guess_mode); seeds; init (the image of image-to-image);
mask and padding (of inpainting, mask_image and padding_mask_crop).

A field "float32_error" is as in pipelines.json; "change" is how far the latents move, relative to their largest, without
the controls, "image_change" with other images in their place. Weights of controlnet_cond_embedding.conv_out are
multiplied by metadata "hint", so that images matter.
"""

import json
import sys

import diffusers
import numpy as np
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from PIL import Image

import common
from cases import PROMPT
from pipelines import CLASSES

SEED = 20261130
SHAPE = dict(block_out_channels=[16, 32, 48], attention_head_dim=[1, 2, 3], cross_attention_dim=80, norm_num_groups=8,
             use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
             projection_class_embeddings_input_dim=96, transformer_layers_per_block=[1, 1, 2],
             down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"])
PLAIN = dict(SHAPE, conditioning_embedding_out_channels=[4, 8, 12, 16])
UNION = dict(SHAPE, conditioning_embedding_out_channels=[6, 8, 12, 16], num_trans_channel=16, num_trans_head=2, num_proj_channel=16)
NETS = {
    "full": (ControlNetModel, "controlnet", PLAIN),
    "other": (ControlNetModel, "other/controlnet", PLAIN),
    "mid": (ControlNetModel, "controlnet", dict(PLAIN, transformer_layers_per_block=[0, 0, 1],
                                                down_block_types=["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"])),
    "small": (ControlNetModel, "controlnet", dict(PLAIN, down_block_types=["DownBlock2D"] * 3, mid_block_type="UNetMidBlock2D")),
    "bgr": (ControlNetModel, "controlnet", dict(PLAIN, controlnet_conditioning_channel_order="bgr")),
    "pool": (ControlNetModel, "controlnet", dict(PLAIN, global_pool_conditions=True)),
    "union": (ControlNetUnionModel, "controlnet", UNION),
    "promax": (ControlNetUnionModel, "other/controlnet", dict(UNION, num_control_type=8)),
}
made = {}
HINT = 256  # what conv_out's weights are multiplied by


def net(name, dtype=torch.float32):
    if name not in made:
        cls, component, config = NETS[name]
        made[name] = common.fill(cls(**config), component)
        made[name].controlnet_cond_embedding.conv_out.weight *= HINT  # else the image is next to nothing beside the latents
    return made[name].to(dtype)


def calls(out):
    """One call of each net, before and in guess mode."""
    generator = torch.Generator("cpu").manual_seed(SEED)
    out["call.text"] = torch.randn(2, 7, 80, generator=generator)
    out["call.pooled"] = torch.randn(2, 48, generator=generator)
    out["call.time_ids"] = torch.tensor([[64, 72, 0, 0, 64, 72], [1024, 768, 128, 16, 1000, 513]], dtype=torch.float32)
    out["call.sample"] = torch.randn(2, 4, 5, 6, generator=generator)
    out["call.hint.0"], out["call.hint.1"] = (torch.rand(1, 3, 40, 48, generator=generator) for _ in range(2))
    table = {}
    for name in NETS:
        for suffix, more in (("", {}), (".guess", {"guess_mode": True}), (".several", {}), (".multi", {"from_multi": True})):
            union = "num_control_type" in net(name).config
            if suffix in (".several", ".multi") and not union:
                continue
            hints = [out["call.hint.0"]]
            kinds, scale = [3], 0.75
            if suffix == ".several":
                hints, kinds, scale = hints + [out["call.hint.1"]], [4, 1], [0.75, 1.25]
            if suffix == ".multi":
                hints, kinds = hints + [out["call.hint.1"]], [4, 1]
            results = []
            for dtype in (torch.float32, torch.float64):
                model = net(name, dtype)
                call = dict(encoder_hidden_states=out["call.text"].to(dtype), conditioning_scale=scale, **more,
                            added_cond_kwargs={"text_embeds": out["call.pooled"].to(dtype), "time_ids": out["call.time_ids"].to(dtype)})
                images = [h.to(dtype).repeat(2, 1, 1, 1) for h in hints]
                if union:
                    types = torch.zeros(2, model.config.num_control_type, dtype=dtype)
                    types[:, kinds] = 1
                    call.update(controlnet_cond=images, control_type=types, control_type_idx=kinds)
                else:
                    call.update(controlnet_cond=images[0])
                down, mid = model(out["call.sample"].to(dtype), torch.tensor(37.5), return_dict=False, **call)
                results.append([*down, mid])
            for i, r in enumerate(results[0]):
                out[f"call.{name}{suffix}.{i}"] = r
            error = max((a.double() - b).abs().max().item() for a, b in zip(*results))
            table[name + suffix] = {"kinds": kinds, "scale": scale if isinstance(scale, list) else [scale], "float32_error": float(f"{error:.3g}")}
            print(f"  {name}{suffix}: std {results[0][0].std():.4f} … {results[0][-1].std():.4f}, float32 error {error:.1e}")
    return table


def control(net, image="a", **more):
    return dict(net=net, image=image, **more)


def case(name, *controls, **fields):
    return {"name": name, "prompt": PROMPT, "seed": 7, "steps": 4, "width": 48, "height": 40, "controls": list(controls), **fields}


def cases():
    yield case("plain", control("full"))
    yield case("scale", control("full", scale=0.5), n=2)
    yield case("odd", control("full", "odd"), negative="blurry")
    yield case("grey", control("small", "grey"))
    yield case("mid", control("mid", scale=1.5))
    yield case("bgr", control("bgr"))
    yield case("unguided", control("full"), guidance=1.0)
    yield case("start-end", control("full", start=0.2, end=0.7), steps=6)
    yield case("start-end-heun", control("full", start=0.3, end=0.9), steps=3, scheduler="heun")
    yield case("denoising-end", control("full", end=0.5), steps=8, denoising_end=0.7)
    yield case("two", control("full", scale=0.6), control("other", "b", scale=0.9, start=0.3))
    yield case("same-twice", control("full", scale=0.6), control("full", "b", scale=0.4))
    yield case("guess", control("full"), guess=True)
    yield case("guess-two", control("full", scale=0.8), control("other", "b"), guess=True, n=2)
    yield case("guess-unguided", control("full"), guess=True, guidance=1.0)
    yield case("pool", control("pool"))
    yield case("seeds", control("full"), n=2, seeds=[8, 9], scheduler="euler_a")
    yield case("dpmpp_2m", control("full"), scheduler="dpmpp_2m")
    yield case("image", control("full", scale=0.7), init="b", strength=0.6, steps=5)
    yield case("image-start-end", control("full", start=0.3, end=0.8), init="b", strength=0.6, steps=8)
    yield case("image-two", control("full"), control("other", "odd", end=0.6), init="b", strength=0.8, steps=5, n=2)
    yield case("image-guess", control("full"), init="b", strength=0.6, steps=5, guess=True)
    yield case("union", control("union", mode=3, scale=0.8))
    yield case("union-several", control("union", mode=3, scale=0.8), control("union", "b", mode=1, scale=1.2, end=0.6))
    yield case("union-several-end", control("union", mode=3, end=0.75), control("union", "b", mode=1, scale=1.2, end=0.75))
    yield case("union-image", control("union", mode=0), init="b", strength=0.6, steps=5)
    yield case("promax", control("promax", mode=7))
    yield case("union-two", control("union", mode=3, scale=0.8), control("promax", "b", mode=6, scale=0.7, start=0.3))


    yield case("inpaint", control("full", scale=0.7), init="b", mask="mask", strength=0.7, steps=5)
    yield case("inpaint-odd", control("full", "odd", end=0.7), control("small", scale=0.5), init="b", mask="mask", strength=1.0)
    yield case("inpaint-padding", control("full"), init="b", mask="mask", padding=4, strength=0.9, steps=5)
    yield case("inpaint-union", control("union", mode=1), init="b", mask="mask", strength=0.7, steps=5)


IMAGES = {"a": (40, 48), "b": (40, 48), "odd": (37, 51), "grey": (40, 48), "mask": (40, 48)}


def images(out):
    """Images of a few boxes, which a net sees something in; the same at every run."""
    drawn = {}
    for name, (height, width) in IMAGES.items():
        r = np.random.default_rng([SEED, *name.encode()])
        pixels = np.full((height, width, 3), r.integers(0, 256, 3), dtype=np.uint8)
        for _ in range(6):
            y, x = int(r.integers(0, height - 8)), int(r.integers(0, width - 8))
            pixels[y:y + int(r.integers(4, 20)), x:x + int(r.integers(4, 24))] = r.integers(0, 256, 3)
        if name == "mask":
            pixels[:] = 0
            pixels[12:30, 9:33] = 255
        if name == "grey":
            pixels[:] = pixels[:, :, :1]
        out["image." + name] = torch.from_numpy(pixels)
        drawn[name] = Image.fromarray(pixels)
    return drawn


FIELDS = {"prompt": "prompt", "negative": "negative_prompt", "width": "width", "height": "height", "steps": "num_inference_steps",
          "guidance": "guidance_scale", "n": "num_images_per_prompt", "strength": "strength",
          "denoising_end": "denoising_end", "padding": "padding_mask_crop"}
OWN = {"name", "seed", "seeds", "controls", "guess", "init", "mask", "scheduler"}
parts = {}


def pipe_for(case, nets, dtype):
    if dtype not in parts:
        pipe = common.pipeline("tiny", diffusers.StableDiffusionXLPipeline).to(dtype)
        parts[dtype] = pipe.components
    union = any(n in ("union", "promax") for n in nets)
    names = {(False, False): "StableDiffusionXLControlNetPipeline", (False, True): "StableDiffusionXLControlNetImg2ImgPipeline",
             (True, False): "StableDiffusionXLControlNetUnionPipeline", (True, True): "StableDiffusionXLControlNetUnionImg2ImgPipeline"}
    if "mask" in case:
        names = {(False, True): "StableDiffusionXLControlNetInpaintPipeline", (True, True): "StableDiffusionXLControlNetUnionInpaintPipeline"}
    models = [net(n, dtype) for n in nets]
    pipe = getattr(diffusers, names[union, "init" in case])(
        **{k: v for k, v in parts[dtype].items() if k not in ("image_encoder", "feature_extractor")},
        controlnet=models if len(models) > 1 else models[0], add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = common.component("tiny", "scheduler")
    if "scheduler" in case:
        pipe.scheduler = getattr(diffusers, CLASSES[case["scheduler"]]).from_config(pipe.scheduler.config)
    return pipe, union


def run(case, dtype, drawn, strip=False, swap=False):
    """The final latents; without its controls' influence where strip says so, with other images where swap does."""
    assert not set(case) - set(FIELDS) - OWN, case
    call = {FIELDS[k]: v for k, v in case.items() if k in FIELDS}
    controls = [{"scale": 1.0, "start": 0.0, "end": 1.0, "mode": 0, **c} for c in case["controls"]]
    if strip:
        controls = [{**c, "scale": 0.0} for c in controls]
    if swap:
        controls = [{**c, "image": {"a": "b", "b": "a"}.get(c["image"], "a")} for c in controls]
    nets = [c["net"] for c in controls]
    pipe, union = pipe_for(case, list(dict.fromkeys(nets)) if any(n in ("union", "promax") for n in nets) else nets, dtype)
    whole = {"image": lambda c: drawn[c["image"]], "controlnet_conditioning_scale": lambda c: c["scale"],
             "control_guidance_start": lambda c: c["start"], "control_guidance_end": lambda c: c["end"]}
    if union:
        whole["control_mode"] = lambda c: c["mode"]
    groups = [[c for c in controls if c["net"] == n] for n in dict.fromkeys(nets)] if union else [[c] for c in controls]
    for key, of in whole.items():
        values = [[of(c) for c in g] for g in groups]
        if union and len(groups) == 1:
            value = values[0]
        else:
            value = [v[0] for v in values]
            value = value[0] if len(value) == 1 else value
        call[key] = value
    if "init" in case or union:
        call["control_image"] = call.pop("image")
    if "init" in case:
        call["image"] = drawn[case["init"]]
    if "mask" in case:
        call["mask_image"] = drawn[case["mask"]].convert("L")
    if "padding" in case:
        return padded(pipe, call, case)
    if "guess" in case:
        call["guess_mode"] = True
    seeds = case.get("seeds", [case["seed"]])
    generators = [torch.Generator("cpu").manual_seed(s) for s in seeds]
    return pipe(generator=generators if "seeds" in case else generators[0], output_type="latent", **call).images


def padded(pipe, call, case):
    """The latents of a run whose images would be pasted: those of its last step."""
    last = {}

    def keep(_pipe, _i, _t, values):
        last.update(values)
        return {}

    pipe(generator=torch.Generator("cpu").manual_seed(case["seed"]), callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["latents"], **call)
    return last["latents"]


def main():
    diffusers.logging.set_verbosity_error()
    wanted, table, out = sys.argv[1:], [], {}
    drawn = images(out)
    called = calls(out)
    for c in cases():
        if wanted and c["name"] not in wanted:
            continue
        latents = run(c, torch.float32, drawn)
        wide = run(c, torch.float64, drawn)
        without = run(c, torch.float32, drawn, strip=True)
        assert torch.isfinite(latents).all(), c["name"]
        error = (latents.double() - wide.double()).abs().max().item()
        change = ((latents - without).abs().max() / latents.abs().max()).item()
        swapped = ((latents - run(c, torch.float32, drawn, swap=True)).abs().max() / latents.abs().max()).item()
        assert min(change, swapped) > 0.01, (c["name"], change, swapped)
        out["run." + c["name"]] = latents
        table.append({**c, "float32_error": float(f"{error:.3g}"), "change": float(f"{change:.3g}"), "image_change": float(f"{swapped:.3g}")})
        print(f"{c['name']}: {list(latents.shape)} max {latents.abs().max():.3f} float32 error {error:.2e} change {change:.3f} image {swapped:.3f}", flush=True)
    if wanted:
        return
    nets = {name: {"config": json.loads(net(name).to_json_string()), "component": NETS[name][1]} for name in NETS}
    common.write("goldens/controlnet.safetensors", out, common.metadata("controlnet.py", seed=SEED, hint=HINT, nets=nets, calls=called, cases=table))


if __name__ == "__main__":
    main()
