"""Writes testdata/goldens/ip_adapter.safetensors: CLIP's image preprocessing, image encoders, IP-Adapters and whole runs.

    python tools/reference/ip_adapter.py

Images and masks are stored as uint8 [height, width, channels]. "preprocess/…" is what CLIPImageProcessorPil makes of
them: the class that resizes by Pillow. How far CLIPImageProcessor, which resizes by torchvision, is from it is printed.
"mask/…" are IPAdapterMaskProcessor's for a size, at numbers of queries. Encoders are drawn as component "encoder-a" and
"encoder-b", adapters as "base", "plus" and so on, of the file's names. "run/…" are final latents of the model tiny, in
float32; the metadata lists the calls. The pipeline's feature extractor is CLIPImageProcessorPil there too. Beside it
testdata/ip_adapter.bin is a small adapter in float16 as torch.save writes it, drawn as component "bin".
"""

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from transformers import CLIPImageProcessor, CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

import common
import synth

SEED = 20261130
ENCODERS = {
    "encoder-a": dict(hidden_size=64, intermediate_size=96, projection_dim=48, num_hidden_layers=3, num_attention_heads=4,
                      image_size=32, patch_size=8, hidden_act="gelu"),
    "encoder-b": dict(hidden_size=96, intermediate_size=80, projection_dim=40, num_hidden_layers=2, num_attention_heads=3,
                      image_size=59, patch_size=14, hidden_act="quick_gelu", layer_norm_eps=1e-3),
}
CONTEXT, LAYERS = 80, [32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 32, 32, 32, 48, 48]  # of tiny: down, up, middle
ADAPTERS = {"base": (48, False), "plus": (64, True)}
IMAGES = {"a": (37, 50, 3), "b": (64, 31, 3), "c": (40, 40, 4), "d": (32, 32, 3), "e": (300, 211, 3), "f": (9, 13, 3)}
MASKS = {"left": (40, 48), "dots": (23, 31)}
SIZE = (40, 48)  # height, width
RUNS = {
    "base": dict(adapters=["base"], images=[["a"]]),
    "unguided": dict(adapters=["base"], images=[["a"]], scale=[0.6], guidance=1.0),
    "plus": dict(adapters=["plus"], images=[["b", "c"]], count=2),
    "both": dict(adapters=["base", "plus"], images=[["a", "b"], ["c"]], scale=[0.7, 0.4]),
    "style": dict(adapters=["base"], images=[["a"]], scale=[{"up": {"block_0": [0.0, 1.0, 0.5]}}]),
    "blocks": dict(adapters=["plus", "base"], images=[["a"], ["b"]],
                   scale=[{"down": {"block_2": [0.3, 1.5]}, "mid": 0.5, "up": 0.25}, {"down": 1.0, "up": {"block_1": 0.5}}]),
    "masks": dict(adapters=["base", "plus"], images=[["a"], ["b"]], masks=[["left"], ["dots"]], scale=[1.0, 0.8]),
    "one mask": dict(adapters=["base", "plus"], images=[["a"], ["b"]], masks=[["left"], None], height=56, width=40),
    "two masks": dict(adapters=["base"], images=[["a", "b"]], masks=[["left", "dots"]], count=2, scale=[0.9]),
    "image-to-image": dict(adapters=["plus"], images=[["a"]], image="e", strength=0.7),
    "lora": dict(adapters=["base"], images=[["b"]], lora="peft-diffusers-names.safetensors"),
    "heun": dict(adapters=["plus"], images=[["d"]], scale=[-0.5], scheduler="HeunDiscreteScheduler"),
}


def pictures():
    generator = torch.Generator().manual_seed(SEED)
    out = {}
    for name, (h, w, c) in IMAGES.items():
        coarse = torch.rand(1, c, 5, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (h, w), mode="bilinear")[0].permute(1, 2, 0)
        noise = torch.rand(h, w, c, generator=generator)
        out["image/" + name] = (255 * (0.7 * smooth + 0.3 * noise)).round().to(torch.uint8)
    left = torch.zeros(*MASKS["left"], 1, dtype=torch.uint8)
    left[:, :20] = 255
    out["mask/left"] = left
    out["mask/dots"] = torch.randint(0, 256, (*MASKS["dots"], 1), generator=generator).to(torch.uint8)
    return out


def pil(x):
    x = x.numpy()
    return Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)


def vision(name):
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**ENCODERS[name]))
    return common.fill(model, name)


def adapter(name):
    """The state of an adapter's file, as diffusers reads it."""
    width, plus = ADAPTERS[name]
    shapes = {}
    if plus:
        hidden, tokens, inner, ff = 96, 6, 128, 384
        shapes |= {"latents": (1, tokens, hidden), "proj_in.weight": (hidden, width), "proj_in.bias": (hidden,),
                   "proj_out.weight": (CONTEXT, hidden), "proj_out.bias": (CONTEXT,),
                   "norm_out.weight": (CONTEXT,), "norm_out.bias": (CONTEXT,)}
        for i in range(4):
            for norm in ("0.norm1", "0.norm2", "1.0"):
                shapes |= {f"layers.{i}.{norm}.weight": (hidden,), f"layers.{i}.{norm}.bias": (hidden,)}
            shapes |= {f"layers.{i}.0.to_q.weight": (inner, hidden), f"layers.{i}.0.to_kv.weight": (2 * inner, hidden),
                       f"layers.{i}.0.to_out.weight": (hidden, inner), f"layers.{i}.1.1.weight": (ff, hidden),
                       f"layers.{i}.1.3.weight": (hidden, ff)}
    else:
        shapes |= {"proj.weight": (4 * CONTEXT, width), "proj.bias": (4 * CONTEXT,), "norm.weight": (CONTEXT,), "norm.bias": (CONTEXT,)}
    draw = lambda key, shape: torch.from_numpy(synth.tensor(f"{name}/{key}", shape)).float()
    state = {"image_proj": {k: draw("image_proj." + k, s) for k, s in shapes.items()}, "ip_adapter": {}}
    for i, channels in enumerate(LAYERS):
        for which in ("to_k_ip", "to_v_ip"):
            key = f"{2 * i + 1}.{which}.weight"
            state["ip_adapter"][key] = draw("ip_adapter." + key, (channels, CONTEXT))
    return state


def write_bin():
    """An adapter of 12 channels for tokens of 8, for two cross-attentions of 8 and 16 channels."""
    draw = lambda key, *shape: torch.from_numpy(synth.tensor("bin/" + key, shape, "float16"))
    state = {"image_proj": {k: draw("image_proj." + k, *s) for k, s in
                            {"proj.weight": (32, 12), "proj.bias": (32,), "norm.weight": (8,), "norm.bias": (8,)}.items()},
             "ip_adapter": {f"{i}.{w}.weight": draw(f"ip_adapter.{i}.{w}.weight", channels, 8)
                            for i, channels in ((1, 8), (3, 16)) for w in ("to_k_ip", "to_v_ip")}}
    torch.save(state, common.TESTDATA + "/ip_adapter.bin")


def pipe(adapters, cls=None, lora=None, scheduler=None):
    p = common.pipeline("tiny", cls)
    if scheduler:
        p.scheduler = getattr(diffusers, scheduler).from_config(p.scheduler.config)
    encoder = vision("encoder-a")
    p.register_modules(image_encoder=encoder, feature_extractor=CLIPImageProcessorPil(size=32, crop_size=32))
    if lora:
        p.load_lora_weights(common.TESTDATA + "/lora", weight_name=lora)
    if adapters:
        p.load_ip_adapter([adapter(a) for a in adapters], subfolder=[""] * len(adapters), weight_name=[""] * len(adapters),
                          image_encoder_folder=None, low_cpu_mem_usage=False)
    return p


def run(stored, adapters, images, scale=None, guidance=5.0, count=1, masks=None, height=SIZE[0], width=SIZE[1], image=None,
        strength=None, lora=None, scheduler=None):
    p = pipe(adapters, StableDiffusionXLImg2ImgPipeline if image else None, lora, scheduler)
    options = dict(prompt="a lighthouse", guidance_scale=guidance, num_images_per_prompt=count, num_inference_steps=4,
                   generator=torch.Generator().manual_seed(7), output_type="latent")
    if image:
        options |= dict(image=pil(stored["image/" + image]).resize((width, height), Image.LANCZOS), strength=strength)
    else:
        options |= dict(height=height, width=width)
    if adapters:
        p.set_ip_adapter_scale(scale or [1.0] * len(adapters))
        options["ip_adapter_image"] = [[pil(stored["image/" + i]) for i in list_] for list_ in images]
    if masks:
        processor = IPAdapterMaskProcessor()
        ready = []
        for of in masks:
            if of is None:
                ready.append(None)
                continue
            m = processor.preprocess([pil(stored["mask/" + i]) for i in of], height=height, width=width)
            ready.append(m.reshape(1, m.shape[0], m.shape[2], m.shape[3]))
        options["cross_attention_kwargs"] = {"ip_adapter_masks": ready}
    return p(**options).images, options.get("image")


def main():
    diffusers.logging.set_verbosity_error()
    write_bin()
    stored = pictures()
    out = dict(stored)
    for name in IMAGES:
        picture = pil(stored["image/" + name])
        for size in (32, 59, 224) if name in "ae" else (32,):
            want = CLIPImageProcessorPil(size=size, crop_size=size)(picture, return_tensors="pt").pixel_values
            other = CLIPImageProcessor(size=size, crop_size=size)(picture, return_tensors="pt").pixel_values
            levels = (want - other).abs() * 0.2686 * 255
            print(f"image {name} at {size}: torchvision differs by {levels.max():.2f} levels at most, in {100 * (levels > 0.5).float().mean():.2f} % of values")
            out[f"preprocess/{name}/{size}"] = want if size < 224 else want.flatten()[::41]
    for name, (h, w) in (("left", SIZE), ("dots", SIZE), ("dots", (72, 40)), ("left", (56, 104))):
        m = IPAdapterMaskProcessor().preprocess(pil(stored["mask/" + name]), height=h, width=w)
        for queries in {(h // 8) * (w // 8), ((h // 8 + 1) // 2) * ((w // 8 + 1) // 2), 7}:
            out[f"masked/{name}/{h}/{w}/{queries}"] = IPAdapterMaskProcessor.downsample(m[:, 0], 1, queries, 1).flatten()
    for name in ENCODERS:
        model, size = vision(name), ENCODERS[name]["image_size"]
        x = CLIPImageProcessorPil(size=size, crop_size=size)(pil(stored["image/a"]), return_tensors="pt").pixel_values
        result = model(x, output_hidden_states=True)
        out[f"{name}/pixels"], out[f"{name}/embeds"], out[f"{name}/hidden"] = x, result.image_embeds, result.hidden_states[-2]
    for name, (width, plus) in ADAPTERS.items():
        p = pipe([name])
        x = out["encoder-a/hidden"] if plus else out["encoder-a/embeds"]
        tokens = p.unet.encoder_hid_proj([x[None]])[0][0]
        processors = [q for q in p.unet.attn_processors.values() if hasattr(q, "to_k_ip")]
        if [q.to_k_ip[0].weight.shape[0] for q in processors] != LAYERS:
            raise RuntimeError(f"cross-attentions of {[q.to_k_ip[0].weight.shape[0] for q in processors]}")
        out[f"{name}/k"] = torch.cat([q.to_k_ip[0](tokens).flatten() for q in processors])
        out[f"{name}/v"] = torch.cat([q.to_v_ip[0](tokens).flatten() for q in processors])
    plain, _ = run(stored, [], [])
    for name, case in RUNS.items():
        out["run/" + name], image = run(stored, **case)
        if image is not None:
            out["run/" + name + "/image"] = torch.from_numpy(np.array(image))
        if out["run/" + name].shape == plain.shape:
            print(f"{name}: {((out['run/' + name] - plain).norm() / plain.norm()):.3f} from the run without")
    common.write("goldens/ip_adapter.safetensors", out, common.metadata("ip_adapter.py", runs=RUNS, seed=SEED))


if __name__ == "__main__":
    main()
