"""PyTorch and diffusers on the card: kernels, the UNet's step, the VAE's decoding. Random weights of the published configuration: time depends on shapes only, and nothing is downloaded."""

import time

import torch

from shapes import CASES, device, dtype, randn
from timing import events, graph_of, kernel, summary

UNET = dict(
    sample_size=128, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280), layers_per_block=2,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10), attention_head_dim=(5, 10, 20), cross_attention_dim=2048, use_linear_projection=True,
    addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)
VAE = dict(
    in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=1024, scaling_factor=0.13025,
)


def limits():
    """What the card does at best: the largest product and the largest copy, fp16, random data."""
    a, b = randn(8192, 8192), randn(8192, 8192)
    product = kernel(lambda: a @ b)
    x = torch.randint(0, 255, (1 << 32,), device=device, dtype=torch.uint8)
    y = torch.empty_like(x)
    copy = summary(events(lambda: y.copy_(x), 10, 3))
    return {"product_tflops": 2 * 8192**3 / product["ms"] / 1e9, "copy_gb_s": 2 * x.numel() / copy["ms"] / 1e6}


def kernels(filter, out, report):
    """Adds the fastest way of each case and scope to out: {case: {"alone": figure, "whole": figure}}. A way that a library refuses is left out, with its reason."""
    torch.backends.cudnn.benchmark = True
    for name, (ways, flops) in CASES.items():
        if not filter.search(name):
            continue
        best, refused = {}, []
        for scope, by, call in ways():
            try:
                figure = {"by": by, **kernel(call)}
            except RuntimeError as error:
                refused.append(f"{by}: {str(error).splitlines()[0][:120]}")
                torch.cuda.synchronize()
                continue
            if scope not in best or figure["ms"] < best[scope]["ms"]:
                best[scope] = figure
        for figure in best.values():
            figure["tflops"] = flops / figure["ms"] / 1e9
        out[name] = {**best, **({"refused": refused} if refused else {})}
        report(name, out[name])
        torch.cuda.empty_cache()


def unet_call(unet, side):
    """One evaluation for an image of side² pixels with guidance: a batch of two."""
    x = randn(2, 4, side // 8, side // 8).to(memory_format=torch.channels_last)
    t, text = torch.tensor(500.0, device=device), randn(2, 77, 2048)
    added = dict(text_embeds=randn(2, 1280), time_ids=torch.full((2, 6), float(side), device=device, dtype=dtype))
    return lambda model=unet: model(x, t, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False)[0]


def build(make, config):
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = make(**config)
    finally:
        torch.set_default_dtype(torch.float32)
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def step(sides, eager, compiled, runs, out, report):
    """Adds {side: {"eager": figure, "graph": figure, "compile": figure}} to out: the UNet alone, without guidance and the solver."""
    from diffusers import UNet2DConditionModel

    torch.backends.cudnn.benchmark = True
    unet = build(UNet2DConditionModel, UNET)
    with torch.inference_mode():
        for side in sides:
            call, found = unet_call(unet, side), out.setdefault(str(side), {})
            if eager:
                found["eager"] = summary(events(call, max(5, runs // 5), 3))
                report(f"UNet {side}, eager", found["eager"])
                found["graph"] = summary(events(graph_of(call), runs, 2))
                report(f"UNet {side}, eager in a CUDA graph", found["graph"])
            if compiled:
                start = time.time()
                fast = torch.compile(unet, mode="reduce-overhead", fullgraph=True)
                call(fast)
                torch.cuda.synchronize()
                seconds = time.time() - start
                found["compile"] = {**summary(events(lambda: call(fast), runs, 3)), "compiled_s": seconds}
                report(f"UNet {side}, torch.compile in {seconds:.0f} s", found["compile"])
                torch._dynamo.reset()


def vae(sides, eager, compiled, out, report):
    """Adds {side: {"eager": figure, "compile": figure}} to out: decoding one image."""
    from diffusers import AutoencoderKL

    torch.backends.cudnn.benchmark = True
    model = build(AutoencoderKL, VAE)
    with torch.inference_mode():
        for side in sides:
            z = randn(1, 4, side // 8, side // 8).to(memory_format=torch.channels_last)
            found = out.setdefault(str(side), {})
            if eager:
                found["eager"] = summary(events(lambda: model.decode(z, return_dict=False)[0], 10, 3))
                report(f"VAE decode {side}, eager", found["eager"])
            if compiled:
                start = time.time()
                decode = torch.compile(model.decode, mode="reduce-overhead", fullgraph=True)
                decode(z, return_dict=False)
                torch.cuda.synchronize()
                seconds = time.time() - start
                found["compile"] = {**summary(events(lambda: decode(z, return_dict=False)[0], 20, 3)), "compiled_s": seconds}
                report(f"VAE decode {side}, torch.compile in {seconds:.0f} s", found["compile"])
                torch._dynamo.reset()
