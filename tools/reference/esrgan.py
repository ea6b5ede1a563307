"""Writes testdata/goldens/esrgan.safetensors and models/esrgan/testdata/*.pth: ESRGAN's networks, in float32.

    python tools/reference/esrgan.py

The networks are spandrel's, which reads any of their files, with dense blocks of any growth. Small models are files as training programs leave them, in
float16: "old" has the names of 2018, "bsrgan" those of BSRGAN, "unshuffle2" and "unshuffle4" BasicSR's names, averaged
and plain tensors side by side, "eight" a third doubling, "compact4", "compact3" and "compact1" are SRVGGNetCompact.
"full" is RealESRGAN_x4plus and "compact" realesr-general-x4v3, their weights rounded to float16, drawn as component
"esrgan" (synth.py); of their values every 41st is kept. Images are stored as uint8 [1, 3, H, W] and enter as v / 255.
"""

import os

import torch
from spandrel import ModelLoader
from spandrel.architectures.__arch_helpers import block
from spandrel.architectures.Compact import Compact
from spandrel.architectures.ESRGAN import ESRGANArch

import common
import synth

SEED = 20261130
KEEP = 41
GROWTH = 32  # of the dense blocks that spandrel builds next; it knows no other than 32
RRDB = block.RRDB
block.RRDB = lambda **options: RRDB(**{**options, "gc": GROWTH})


def rrdb(features, growth, blocks, doublings, inputs=3):
    """The shapes of RRDBNet's tensors under BasicSR's names."""
    conv = {"conv_first": (features, inputs), "conv_body": (features, features), "conv_hr": (features, features), "conv_last": (3, features)}
    for i in range(doublings):
        conv[f"conv_up{i + 1}"] = (features, features)
    for n in range(blocks):
        for r in (1, 2, 3):
            for k in range(5):
                conv[f"body.{n}.rdb{r}.conv{k + 1}"] = (features if k == 4 else growth, features + k * growth)
    shapes = {}
    for name, (out, into) in conv.items():
        shapes[name + ".weight"], shapes[name + ".bias"] = (out, into, 3, 3), (out,)
    return shapes


def drawn(shapes, generator):
    """Weights that keep the size of what passes, and slopes and biases that matter."""
    state = {}
    for name, shape in shapes.items():
        if len(shape) == 4:
            state[name] = torch.randn(shape, generator=generator) * (1.4 / (9 * shape[1])) ** 0.5
        elif name.endswith("bias"):
            state[name] = 0.1 * torch.randn(shape, generator=generator)
        else:
            state[name] = torch.rand(shape, generator=generator) - 0.3
        state[name] = state[name].half()
    return state


def renamed(state, **names):
    """The names of older files: pairs of a beginning, with # for a number, and what it becomes."""
    out = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] == "body":
            key = names["block"].format(n=parts[1], r=parts[2][3:], c=parts[3], t=parts[4])
        else:
            key = names[parts[0]] + "." + parts[1]
        out[key] = value
    return out


def files(generator):
    body = dict(block="model.1.sub.{n}.RDB{r}.{c}.0.{t}", conv_first="model.0", conv_body="model.1.sub.2")
    trunk = dict(block="RRDB_trunk.{n}.RDB{r}.{c}.{t}", conv_first="conv_first", conv_body="trunk_conv", conv_hr="HRconv", conv_last="conv_last")
    compact = lambda features, convs, scale: {k: tuple(v.shape) for k, v in Compact(num_feat=features, num_conv=convs, upscale=scale).state_dict().items()}
    draw = lambda *sizes: drawn(rrdb(*sizes), generator)
    yield "old", renamed(draw(8, 4, 2, 2), **body, conv_up1="model.3", conv_up2="model.6", conv_hr="model.8", conv_last="model.10"), None
    yield "eight", renamed(draw(5, 3, 2, 3), **body, conv_up1="model.3", conv_up2="model.6", conv_up3="model.9", conv_hr="model.11", conv_last="model.13"), None
    yield "bsrgan", renamed(draw(8, 4, 1, 1), **trunk, conv_up1="upconv1"), None
    for name, inputs in (("unshuffle2", 12), ("unshuffle4", 48)):
        state = draw(8, 4, 1, 2, inputs)
        yield name, state, {"params": {k: 2 * v for k, v in state.items()}, "params_ema": state}
    for scale in (4, 3, 1):
        state = drawn(compact(8, 3, scale), generator)
        yield f"compact{scale}", state, {"params": state}


def full():
    model = Compact(num_feat=64, num_conv=32, upscale=4)
    common.fill(model, "esrgan", "float16")
    yield "compact", model
    state = {k: torch.from_numpy(synth.tensor("esrgan/" + k, v, "float16")).float() for k, v in rrdb(64, 32, 23, 2).items()}
    yield "full", ESRGANArch().load(state).model


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(SEED)
    folder = os.path.join(common.ROOT, "models", "esrgan", "testdata")
    os.makedirs(folder, exist_ok=True)
    out, error = {}, {}

    global GROWTH

    def record(name, model, sizes, keep):
        for i, (h, w) in enumerate(sizes):
            image = torch.randint(0, 256, (1, 3, h, w), generator=generator).to(torch.uint8)
            values = model.float().eval()(image.float() / 255)
            wide = model.double()(image.double() / 255)
            key = f"{name}.{i}."
            out[key + "image"], out[key + "values"] = image, values.flatten()[::keep]
            out[key + "pixels"] = ((values.clamp(0, 1) * 255).round().to(torch.uint8)).flatten()[::keep]
            error[key] = float((values - wide).abs().max())

    for name, state, wrapped in files(generator):
        path = os.path.join(folder, name + ".pth")
        torch.save(wrapped or state, path)
        os.chmod(path, 0o644)
        GROWTH = 3 if name == "eight" else 4
        model = ModelLoader().load_from_file(path).model
        record(name, model, [(13, 10), (4, 7)] if "unshuffle" in name else [(11, 9), (3, 1)], 1)
    GROWTH = 32
    for name, model in full():
        record(name, model, [(20, 26)], KEEP)
    common.write("goldens/esrgan.safetensors", out, common.metadata("esrgan.py", seed=SEED, keep=KEEP, float32_error=error))


main()
