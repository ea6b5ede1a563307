"""Writes testdata/goldens/request_fields.safetensors: what a request can hold beyond the table of cases.py, in float32.

    python tools/reference/request_fields.py          every case
    python tools/reference/request_fields.py NAME...  those cases only, printed and not written

Lists of prompts and of generators, prompt embeddings, guidance that changes on the way, three experts, an interrupted
run, custom sigmas, another model's VAE. Metadata "cases" lists them with the fields of cases.py and these:

prompts ([[prompt, negative, prompt_2, negative_2], ...], shorter where the rest is None); seeds (a generator an image);
embeds (a set of tensors SET.prompt_embeds, ... of this file), positive_only (without the negative ones);
guidance_per_step (a scale a step, the last one holds); interrupt (steps done); sigmas; experts (where each but the last
one ends: the model, the model on an image, tiny-refiner); vae (the model whose VAE takes the place of the model's own).

A field "float32_error" is as in pipelines.json.
"""

import json
import os
import sys

import torch
from PIL import Image

import common
from cases import IMAGE, LONG, PROMPT, image, text
from pipelines import PAIRS, PLAIN, pipe_for

CATS = "two cats sleeping on a wooden table"
TWO = [[PROMPT, "blurry, low quality"], [CATS, "text"]]
SMALL = dict(width=48, height=40)
OWN = {"name", "model", "task", "seed", "scheduler", "input_image", "input_latents", "keep_image"}
EXTRA = {"prompts", "seeds", "embeds", "positive_only", "guidance_per_step", "interrupt", "sigmas", "experts", "vae"}
PARTS = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")


def small(name, model="tiny", **fields):
    return text(name, model, **{**SMALL, **fields})


def lists():
    """Several prompts, and several generators, in one batch."""
    for count in (1, 2):
        yield small(f"prompts-{count}", prompts=TWO, n=count)
        yield image(f"prompts-image-{count}", "tiny", prompts=TWO, n=count, strength=0.5)
        yield image(f"prompts-refine-{count}", prompts=TWO, n=count, strength=0.5)
    yield small("prompts-euler_a", prompts=TWO, n=2, scheduler="euler_a")
    yield small("prompts-rescale", prompts=TWO, n=2, guidance=7.5, guidance_rescale=0.7)
    yield small("prompts-none", prompts=[[PROMPT], [CATS]])
    yield small("prompts-four-texts", prompts=[[*TWO[0], "a harbour", "boats"], [*TWO[1], "a garden", "flowers"]], clip_skip=1)
    yield small("prompts-negative-sizes", prompts=TWO, negative_original_size=[256, 128], negative_target_size=[1024, 900])
    yield small("b-prompts", "tiny-b", prompts=[[PROMPT], [LONG]], n=2)
    yield small("seeds", n=3, seeds=[5, 1 << 40, 0])
    yield small("seeds-one", seeds=[1])
    yield small("seeds-one-latent", n=3, seeds=[3, 2, 1], width=8, height=8)
    yield small("seeds-prompts", prompts=TWO, n=2, seeds=[4, 3, 2, 1])
    for name, fields in (("euler_a", {}), ("dpmpp_2m_sde", {}), ("ddim", {"eta": 0.7}), ("tcd", {"eta": 0.3}), ("lcm", {})):
        yield small("seeds-" + name, n=2, seeds=[8, 9], scheduler=name, **fields)
    yield image("seeds-image", "tiny", n=2, seeds=[8, 9], strength=0.5)
    yield image("seeds-refine", prompts=TWO, seeds=[8, 9], strength=0.5)
    yield image("seeds-refine-euler_a", n=2, seeds=[8, 9], strength=0.5, scheduler="euler_a")
    yield image("seeds-latents", "tiny", input_image=None, input_latents="seeds", n=3, seeds=[8, 9, 10], strength=0.5)


def embeddings():
    yield small("embeds", embeds="two")
    yield small("embeds-2", embeds="two", n=2)
    yield small("embeds-mixed", embeds="mixed")
    yield small("embeds-long", embeds="long", n=2)
    yield small("embeds-short", embeds="short")
    yield small("embeds-seeds", embeds="two", seeds=[8, 9])
    yield small("embeds-no-negative", embeds="two", positive_only=True)
    yield small("embeds-negative-text", embeds="two", positive_only=True, negative="blurry", negative_2="text")
    yield small("embeds-guidance-1", embeds="two", positive_only=True, guidance=1.0)
    yield image("embeds-image", "tiny", embeds="two", strength=0.5)
    yield image("embeds-image-long", "tiny", embeds="long", strength=0.5)
    yield image("embeds-refine", embeds="refiner", strength=0.5)
    yield small("b-embeds-no-negative", "tiny-b", embeds="b-positive")
    yield small("b-embeds-negative-text", "tiny-b", embeds="b-positive", negative="blurry")


def guidance():
    falling, ends, interval = [9.0, 7.0, 5.0, 3.0, 1.5], [7.5, 7.5, 1.0], [7.5, 7.5, 1.0, 0.0, 5.0]
    for name in ("euler", "euler_a", "heun", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "lms"):
        yield small("guidance-falls-" + name, guidance_per_step=falling, scheduler=name)
        yield small("guidance-ends-" + name, guidance_per_step=ends, scheduler=name, steps=6)
    yield small("guidance-interval", guidance_per_step=interval, steps=7)
    yield small("guidance-interval-dpmpp_2m", guidance_per_step=interval, steps=7, scheduler="dpmpp_2m")
    yield small("guidance-interval-rescale", guidance_per_step=interval, steps=7, guidance_rescale=0.7)
    yield small("guidance-ends-prompts", guidance_per_step=ends, prompts=TWO, n=2)
    yield small("guidance-ends-embeds", guidance_per_step=ends, embeds="long")
    yield image("guidance-ends-image", "tiny", guidance_per_step=ends, prompts=TWO, strength=0.5)
    yield image("guidance-ends-refine", guidance_per_step=ends, strength=0.5, n=2)


def others():
    for name, fields in (("euler", {}), ("euler_a", {}), ("heun", {}), ("dpmpp_2m", {}), ("unipc", {"n": 2}), ("ddim", {})):
        yield small("experts-" + name, experts=[0.4, 0.7], steps=10, scheduler=name, negative="blurry", **fields)
    yield small("experts-prompts", experts=[0.4, 0.7], steps=10, prompts=TWO, n=2)
    yield small("experts-seeds", experts=[0.4, 0.7], steps=10, n=2, seeds=[8, 9], scheduler="euler_a")
    for name in ("euler", "heun", "dpmpp_2m_sde", "unipc"):
        yield small("interrupt-" + name, interrupt=3, steps=6, scheduler=name)
    yield image("interrupt-refine", interrupt=2, strength=0.5)
    yield image("image-negative-original", "tiny", strength=0.5, negative_original_size=[256, 128])
    yield image("image-negative-target", "tiny", strength=0.5, negative_target_size=[1024, 900], crop=[16, 32])
    yield image("image-negative-crop", "tiny", strength=0.5, negative_crop=[8, 4], original_size=[512, 768], target_size=[80, 72], n=2)
    for scale in (0.0, 1.0):
        yield image(f"image-guidance-{scale:.0f}", "tiny", strength=0.5, guidance=scale)
    yield image("image-rescale", "tiny", strength=0.5, guidance=7.5, guidance_rescale=0.7)
    yield image("image-eta", "tiny", strength=0.5, scheduler="ddim", eta=0.7)
    yield image("image-clip-skip", "tiny", strength=0.5, clip_skip=1, negative="blurry")
    yield image("image-denoising-end", "tiny", strength=0.8, denoising_end=0.6)
    yield image("image-timesteps", "tiny", strength=0.6, steps=None, timesteps=[901, 701, 501, 301, 101, 1])
    yield small("sigmas", steps=None, sigmas=[13.5, 6.0, 2.5, 1.0, 0.3, 0.05, 0.0])
    yield small("sigmas-not-to-zero", steps=None, sigmas=[13.5, 6.0, 2.5, 1.0, 0.3], n=2, scheduler="euler")
    yield image("image-sigmas", "tiny", strength=0.6, steps=None, sigmas=[13.5, 6.0, 2.5, 1.0, 0.3, 0.05, 0.0])
    yield text("vae", vae="tiny-b", width=None, height=None, keep_image=True)
    yield text("vae-wide", vae="tiny-b", width=40, height=24, n=2, keep_image=True)
    yield image("vae-image", "tiny", vae="tiny-b", strength=0.5, keep_image=True)


def encoded(tensors):
    """The prompt embeddings, as encode_prompt gives them, and mixtures made by hand."""
    def encode(model, prompts, negatives):
        task = "image" if model == "tiny-refiner" else "text"
        parts = pipe_for({"model": model, "task": task}, torch.float32).encode_prompt(
            prompt=prompts, negative_prompt=negatives, do_classifier_free_guidance=True)
        return dict(zip(PARTS, parts))

    def keep(name, parts, only=PARTS):
        tensors.update({f"{name}.{k}": parts[k].contiguous() for k in only})

    prompts, negatives = [p for p, _ in TWO], [n for _, n in TWO]
    two = encode("tiny", prompts, negatives)
    keep("two", two)
    keep("mixed", {k: 0.3 * v[:1] + 0.7 * v[1:] for k, v in two.items()})
    keep("long", {k: torch.cat([v[:1], v[1:]], dim=1) if v.ndim == 3 else v[:1] for k, v in two.items()})
    keep("short", {k: v[:, :20] if v.ndim == 3 else v for k, v in two.items()})
    keep("refiner", encode("tiny-refiner", prompts, negatives))
    keep("b-positive", encode("tiny-b", [PROMPT], None), PARTS[::2])


def call_of(case, tensors, dtype):
    """The arguments that one call of a pipeline takes."""
    unknown = set(case) - set(PLAIN) - set(PAIRS) - EXTRA - OWN
    assert not unknown, unknown
    call = {PLAIN[k]: v for k, v in case.items() if k in PLAIN}
    call.update({PAIRS[k]: tuple(v) for k, v in case.items() if k in PAIRS})
    if "prompts" in case:
        columns = list(zip(*case["prompts"]))
        call.update(zip(("prompt", "negative_prompt", "prompt_2", "negative_prompt_2"), map(list, columns)))
    if "embeds" in case:
        del call["prompt"]
        given = PARTS[::2] if "positive_only" in case else PARTS
        call.update({k: tensors[f"{case['embeds']}.{k}"].to(dtype) for k in given if f"{case['embeds']}.{k}" in tensors})
    if "sigmas" in case:
        call["sigmas"] = case["sigmas"]
    if "input_image" in case:
        call["image"] = Image.open(os.path.join(common.TESTDATA, case["input_image"]))
    if "input_latents" in case:
        call["image"] = tensors[case["input_latents"]].to(dtype)
    return call


def changing(case, last):
    """A callback that sets the next step's guidance, cuts the conditioning where guidance ends, and interrupts."""
    names = ("prompt_embeds", "add_text_embeds", "add_time_ids")
    whole = {}

    def callback(pipe, i, _t, values):
        last["latents"] = values["latents"]
        order, scales = pipe.scheduler.order, case.get("guidance_per_step")
        if not whole:
            whole.update({k: values[k] for k in names})
        if case.get("interrupt") and i + 1 == case["interrupt"] * order:
            pipe._interrupt = True
        if not scales:
            return {}
        pipe._guidance_scale = scales[min((i + 1) // order, len(scales) - 1)]
        return {k: v if pipe._guidance_scale > 1 else v.chunk(2)[-1] for k, v in whole.items()}

    return callback, ["latents", *names]


def generators(case):
    if "seeds" in case:
        return [torch.Generator("cpu").manual_seed(s) for s in case["seeds"]]
    return torch.Generator("cpu").manual_seed(case["seed"])


def run(case, dtype, tensors):
    """The final latents [n, C, h, w] and, for keep_image, the images uint8 [n, H, W, 3]."""
    if "experts" in case:
        return run_experts(case, dtype, tensors), None
    pipe, call, last = pipe_for(case, dtype), call_of(case, tensors, dtype), {}
    if "vae" in case:
        parts = {**pipe.components, "vae": common.component(case["vae"], "vae").to(dtype)}
        pipe = type(pipe)(**parts, add_watermarker=False)
        pipe.set_progress_bar_config(disable=True)
    if "guidance_per_step" in case:
        call["guidance_scale"] = case["guidance_per_step"][0]
    callback, inputs = changing(case, last)
    images = pipe(generator=generators(case), callback_on_step_end=callback, callback_on_step_end_tensor_inputs=inputs,
                  output_type="np" if case.get("keep_image") else "latent", **call).images
    pixels = torch.from_numpy((images * 255).round().astype("uint8")) if case.get("keep_image") else None
    return last["latents"], pixels


def run_experts(case, dtype, tensors):
    """The model to the first end, the same model on the latents to the second, the refiner to the end."""
    first, second = case["experts"]
    call = call_of(case, tensors, dtype)
    width, height = call.pop("width"), call.pop("height")

    def part(model, task, **more):
        pipe = pipe_for({**case, "model": model, "task": task}, dtype)
        return pipe(generator=generators(case), output_type="latent", **call, **more).images

    x = part("tiny", "text", width=width, height=height, denoising_end=first)
    x = part("tiny", "image", image=x, denoising_start=first, denoising_end=second)
    return part("tiny-refiner", "image", image=x, denoising_start=second)


# Pairs of results that are equal, and of results that differ: else the cases would show nothing.
EQUAL = [("prompts-1", "embeds"), ("prompts-2", "embeds-2"), ("prompts-none", "embeds-no-negative"), ("image-guidance-0", "image-guidance-1")]
DIFFERENT = [("prompts-1", "prompts-none"), ("embeds", "embeds-seeds"), ("embeds-no-negative", "embeds-negative-text"),
             ("b-embeds-no-negative", "b-embeds-negative-text"), ("guidance-falls-euler", "prompts-1"), ("seeds", "seeds-latents"),
             ("image-negative-original", "image-negative-target"), ("guidance-interval", "guidance-interval-rescale")]


def main():
    wanted, table, tensors = sys.argv[1:], [], {}
    encoded(tensors)
    for case in [*lists(), *embeddings(), *guidance(), *others()]:
        name = case["name"]
        if wanted and name not in wanted:
            continue
        assert name not in tensors, name
        latents, pixels = run(case, torch.float32, tensors)
        wide, _ = run({k: v for k, v in case.items() if k != "keep_image"}, torch.float64, tensors)
        assert torch.isfinite(latents).all(), name
        error = (latents.double() - wide.double()).abs().max().item()
        tensors[name] = latents.float()
        if pixels is not None:
            tensors[name + ".image"] = pixels
        table.append({**{k: v for k, v in case.items() if k != "keep_image"}, "float32_error": float(f"{error:.3g}")})
        print(f"{name}: {list(latents.shape)} max {latents.abs().max():.3f} float32 error {error:.2e}", flush=True)
    if wanted:
        return
    for a, b in EQUAL:
        assert torch.equal(tensors[a], tensors[b]), (a, b)
    for a, b in DIFFERENT:
        assert tensors[a].shape != tensors[b].shape or (tensors[a] - tensors[b]).abs().max() > 1e-2, (a, b)
    common.write("goldens/request_fields.safetensors", tensors, common.metadata("request_fields.py", cases=table))


if __name__ == "__main__":
    main()
