"""Writes nn/weights/testdata/quantised_*.safetensors: weights as ComfyUI's tools quantise them, and what ComfyUI's own
dequantisation makes of them.

    python tools/reference/quantised.py

comfy_kitchen, which ComfyUI computes with, quantises and dequantises; names and JSON are those that ComfyUI's
comfy/ops.py (mixed_precision_ops) writes and that comfy/utils.py (convert_old_quants) reads. `scaled`, `comfy` and
`layers` are the checkpoints: the marker scaled_fp8, comfy_quant tensors, and _quantization_metadata. `expected` holds
for each weight NAME of them `FILE/NAME` as float32 and `FILE/NAME.fp16` as float16, both dequantised by comfy_kitchen
into that type.
"""

import json
import os

import comfy_kitchen as ck
import torch
from comfy_kitchen.tensor import QuantizedTensor, TensorCoreFP8Layout, TensorWiseINT8Layout
from safetensors.torch import save_file

UNET = "model.diffusion_model."
DTYPES = (("", torch.float32), (".fp16", torch.float16))


def weight(generator, *shape, largest=1.0):
    w = torch.randn(shape, generator=generator)
    return w * (largest / w.abs().max())


def fp8(w, dtype, scale=None):
    """The stored tensor, its scale, and a function that dequantises into a type."""
    if scale is None:
        scale = w.abs().max() / torch.finfo(dtype).max
    scale = torch.as_tensor(scale, dtype=torch.float32)
    q = ck.quantize_per_tensor_fp8(w, scale, dtype)

    def dequantise(to):
        params = TensorCoreFP8Layout.Params(scale=scale, orig_dtype=to, orig_shape=tuple(w.shape))
        return QuantizedTensor(q, "TensorCoreFP8Layout", params).dequantize()

    return q, scale, dequantise


def int8(w, **how):
    q, params = TensorWiseINT8Layout.quantize(w, **how)

    def dequantise(to):
        p = TensorWiseINT8Layout.Params(
            scale=params.scale, orig_dtype=to, orig_shape=tuple(w.shape), convrot=params.convrot, convrot_groupsize=params.convrot_groupsize
        )
        return QuantizedTensor(q, "TensorWiseINT8Layout", p).dequantize()

    return q, params.scale, dequantise


def blob(config):
    return torch.tensor(list(json.dumps(config).encode("utf-8")), dtype=torch.uint8)


def main():
    generator = torch.Generator().manual_seed(15)
    expected = {}

    def expect(file, name, dequantise):
        for suffix, dtype in DTYPES:
            expected[f"{file}/{name}{suffix}"] = dequantise(dtype).contiguous()

    def plain(file, tensors, name, tensor):
        tensors[name] = tensor
        expect(file, name, lambda dtype: tensor.to(dtype))

    # The marker: a linear with a scale, one whose scale is 1, a convolution without one, and tensors of other types.
    scaled = {UNET + "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, largest, scale in (("a.to_q", 0.7, None), ("a.to_k", 3.0, 1.0)):
        q, s, dequantise = fp8(weight(generator, 5, 12, largest=largest), torch.float8_e4m3fn, scale)
        scaled[f"{UNET}{name}.weight"], scaled[f"{UNET}{name}.scale_weight"] = q, s
        scaled[f"{UNET}{name}.scale_input"] = torch.tensor(1.0)
        expect("scaled", f"{UNET}{name}.weight", dequantise)
    plain("scaled", scaled, UNET + "conv.weight", weight(generator, 4, 3, 3, 3).to(torch.float8_e4m3fn))
    plain("scaled", scaled, UNET + "norm.weight", weight(generator, 7).to(torch.float16))
    plain("scaled", scaled, "first_stage_model.decoder.conv_in.bias", weight(generator, 6))

    # comfy_quant.
    comfy = {}
    for name, (q, s, dequantise), config in (
        ("e4m3", fp8(weight(generator, 6, 10, largest=0.3), torch.float8_e4m3fn), {"format": "float8_e4m3fn"}),
        ("e5m2", fp8(weight(generator, 6, 10, largest=0.3), torch.float8_e5m2), {"format": "float8_e5m2", "full_precision_matrix_mult": True}),
        ("large", fp8(weight(generator, 3, 9, largest=1e5), torch.float8_e4m3fn), {"format": "float8_e4m3fn"}),
        ("tensor", int8(weight(generator, 7, 11, largest=0.5)), {"format": "int8_tensorwise"}),
        ("rows", int8(weight(generator, 7, 11, largest=0.5), per_channel=True), {"format": "int8_tensorwise"}),
        ("small", int8(weight(generator, 7, 11, largest=1e-6), per_channel=True), {"format": "int8_tensorwise"}),
        ("rotated", int8(weight(generator, 9, 512), per_channel=True, convrot=True), {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 256}),
        ("default", int8(weight(generator, 3, 256), per_channel=True, convrot=True), {"format": "int8_tensorwise", "convrot": True}),
        ("params", int8(weight(generator, 5, 192), per_channel=True, convrot=True, convrot_groupsize=64), {"format": "int8_tensorwise", "params": {"convrot": True, "convrot_groupsize": 64}}),
    ):
        comfy[f"{name}.weight"], comfy[f"{name}.weight_scale"], comfy[f"{name}.comfy_quant"] = q, s, blob(config)
        expect("comfy", f"{name}.weight", dequantise)
    comfy["e4m3.input_scale"] = torch.tensor(0.25)
    plain("comfy", comfy, "e4m3.bias", weight(generator, 6).to(torch.bfloat16))

    # Metadata, by full names and by names without the UNet's prefix.
    layers = {}
    q, s, dequantise = fp8(weight(generator, 4, 6), torch.float8_e4m3fn)
    layers[UNET + "b.weight"], layers[UNET + "b.weight_scale"] = q, s
    expect("layers", UNET + "b.weight", dequantise)
    q, s, dequantise = int8(weight(generator, 4, 64), per_channel=True, convrot=True, convrot_groupsize=16)
    layers[UNET + "c.weight"], layers[UNET + "c.weight_scale"] = q, s
    expect("layers", UNET + "c.weight", dequantise)
    metadata = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": {
        "b": {"format": "float8_e4m3fn"}, UNET + "c": {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16}}})}

    made = {"generator": "tools/reference/quantised.py", "torch": torch.__version__, "comfy_kitchen": "0.2.40", "seed": "15"}
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "nn", "weights", "testdata")
    for name, tensors, more in (("scaled", scaled, {}), ("comfy", comfy, {}), ("layers", layers, metadata), ("expected", expected, {})):
        path = os.path.join(folder, f"quantised_{name}.safetensors")
        save_file(tensors, path, metadata=made | more)
        os.chmod(path, 0o644)


if __name__ == "__main__":
    main()
