"""Checks goxl's single files with diffusers' own converters, and writes testdata/single_file.json: their hashes.

    go build -o build/goxl ./cmd/goxl && python tools/reference/single_file.py build/goxl

The tiny base and refiner are written by goxl synth -single. diffusers' converters of UNet, VAE and both text encoders must
give the tensors of the model folder, bit for bit. What Go tests is that the file still has the hash.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile

import torch
from diffusers.loaders import single_file_utils as convert
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection

import common


def same(what, got, model):
    want = {common.synthetic_key(model, k): v for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    got = {common.synthetic_key(model, k): v for k, v in got.items() if not k.endswith("position_ids")}
    if isinstance(model, CLIPTextModelWithProjection):
        got.pop("logit_scale", None)
    assert set(got) == set(want), (what, set(got) ^ set(want))
    for key, value in want.items():
        assert torch.equal(got[key].reshape(value.shape), value), (what, key)
    print(f"  {what}: {len(want)} tensors")


def check(path, name):
    checkpoint = load_file(path)
    unet, vae = common.component(name, "unet"), common.component(name, "vae")
    same("unet", convert.convert_ldm_unet_checkpoint(dict(checkpoint), unet.config), unet)
    same("vae", convert.convert_ldm_vae_checkpoint(dict(checkpoint), vae.config), vae)
    first = common.component(name, "text_encoder")
    if first is not None:
        prefix = "conditioner.embedders.0.transformer."
        same("text_encoder", convert.convert_ldm_clip_checkpoint(dict(checkpoint), remove_prefix=prefix), first)
    second = common.component(name, "text_encoder_2")
    prefix = f"conditioner.embedders.{0 if first is None else 1}.model."
    # The converter takes the width of OpenCLIP's tower from text_projection, which is square in every published model.
    same("text_encoder_2", convert.convert_open_clip_checkpoint(second, dict(checkpoint), prefix=prefix), second)


def digest(path):
    """Of every tensor's name, shape and bytes, sorted by name."""
    h = hashlib.sha256()
    for name, value in sorted(load_file(path).items()):
        h.update(f"{name} {list(value.shape)}\n".encode())
        h.update(value.numpy().tobytes())
    return h.hexdigest()


def main():
    hashes = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in (("tiny", "base"), ("tiny-refiner", "refiner")):
            path = os.path.join(folder, name + ".safetensors")
            subprocess.run([sys.argv[1], "synth", "-size", "tiny", "-kind", kind, "-dtype", "fp32", "-single", "-o", path], check=True)
            check(path, name)
            hashes[name] = digest(path)
    out = {**common.metadata("single_file.py"), "sha256": hashes}
    with open(os.path.join(common.TESTDATA, "single_file.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
