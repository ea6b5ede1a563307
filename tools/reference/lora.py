"""Writes testdata/lora: small adapter files of every kind for the tiny model, each by the library that defines the kind,
and testdata/goldens/lora.safetensors: the weights that this library merges, and latents of a whole run with them.

    python tools/reference/lora.py            all of them
    python tools/reference/lora.py NAME …     only those files; the goldens of the others stay
    python tools/reference/lora.py names      nn/weights/lora/testdata/names.json.gz: every module's name in kohya's files

Beside requirements.txt it needs, unpacked and not installed:

    build/lycoris2     pip download --no-deps lycoris-lora==2.0.0    (the older OFT and GLoRA)
    build/sd-scripts   github.com/kohya-ss/sd-scripts at 48d368fa    (its folders networks and library)
"""

import gzip
import json
import os
import sys
import zlib

import diffusers
import torch
from safetensors.torch import load_file, save_file

import common
import lora_kinds as kinds
import lora_peft as peft
from lora_kinds import CONV, K, NORM, ONE, OUT, Q

SEED = 15
CALL = dict(prompt="a red house", negative_prompt="blurry", width=64, height=64, num_inference_steps=3)
LOCON, LOHA, LOKR = ("locon", "LoConModule"), ("loha", "LohaModule"), ("lokr", "LokrModule")
OFT, BOFT = ("diag_oft", "DiagOFTModule"), ("boft", "ButterflyOFTModule")
ALL = [Q, K, OUT, CONV, ONE]
PLAIN = dict(lora_alpha=3, text_alpha=3, rank_pattern={})

# Those that diffusers 0.42.1 loads itself, and reads as they were meant.
DIFFUSERS = {"peft", "peft-rslora", "peft-patterns", "peft-diffusers-names", "peft-bias", "kohya-converted"}

CASES = {
    "kohya": kinds.kohya,
    "kohya-oft": kinds.kohya_oft,
    "kohya-dylora": kinds.kohya_dylora,
    "kohya-converted": peft.to_kohya,
    "peft": peft.peft(),
    "peft-rslora": peft.peft(use_rslora=True),
    "peft-patterns": peft.peft(alpha_pattern={"attn2.to_k": 1, r"down_blocks\.0.*": 5}),
    "peft-dora": peft.peft(use_dora=True, text=()),
    "peft-bias": peft.peft(lora_bias=True, paths=(OUT, CONV, ONE), text=()),
    "peft-diffusers-names": peft.renamed(peft.peft(**PLAIN), peft.before_peft),
    "peft-comfy-names": peft.renamed(peft.peft(**PLAIN), peft.comfy),
    "peft-named": peft.renamed(peft.peft(), peft.named, drop_metadata=False),
    "locon": kinds.lycoris(LOCON, ALL, lora_dim=3, alpha=1.5),
    "locon-diffusers-paths": kinds.lycoris(LOCON, ALL, original=False, lora_dim=3, alpha=1.5),
    "locon-rslora": kinds.lycoris(LOCON, [Q, CONV], lora_dim=4, alpha=2, rs_lora=True),
    "locon-tucker": kinds.lycoris(LOCON, [CONV, ONE], lora_dim=3, alpha=2, use_tucker=True),
    "locon-dora": kinds.lycoris(LOCON, ALL, lora_dim=3, alpha=2, weight_decompose=True, wd_on_out=True),
    "locon-dora-inputs": kinds.lycoris(LOCON, ALL, lora_dim=3, alpha=2, weight_decompose=True, wd_on_out=False),
    "loha": kinds.lycoris(LOHA, ALL, lora_dim=3, alpha=2, std=0.6),
    "loha-tucker": kinds.lycoris(LOHA, [CONV], original=False, lora_dim=3, alpha=2, std=0.7, use_tucker=True),
    "loha-dora": kinds.lycoris(LOHA, [Q, CONV], lora_dim=3, alpha=2, std=0.6, weight_decompose=True),
    "loha-dora-inputs": kinds.lycoris(LOHA, [K, CONV], original=False, lora_dim=3, alpha=2, std=0.6, weight_decompose=True, wd_on_out=False),
    "lokr": kinds.lycoris(LOKR, ALL, lora_dim=2, alpha=1, factor=4),
    "lokr-whole": kinds.lycoris(LOKR, ALL, original=False, lora_dim=2, alpha=1, factor=4, full_matrix=True),
    "lokr-both": kinds.lycoris(LOKR, [Q, K], lora_dim=1, alpha=0.5, factor=4, decompose_both=True, std=0.5),
    "lokr-tucker": kinds.lycoris(LOKR, [CONV], lora_dim=1, alpha=2, factor=4, use_tucker=True, std=0.6),
    "lokr-dora": kinds.lycoris(LOKR, [Q, CONV], lora_dim=2, alpha=1, factor=4, weight_decompose=True),
    "lokr-dora-inputs": kinds.lycoris(LOKR, [Q, K, CONV], lora_dim=2, alpha=1, factor=4, weight_decompose=True, wd_on_out=False),
    "full": kinds.lycoris(("full", "FullModule"), ALL, std=0.1),
    "norm": kinds.lycoris(("norms", "NormModule"), [NORM]),
    "ia3": kinds.lycoris(("ia3", "IA3Module"), ALL),
    "ia3-inputs": kinds.lycoris(("ia3", "IA3Module"), ALL, original=False, train_on_input=True),
    "glora": kinds.lycoris(("glora", "GLoRAModule"), ALL, lora_dim=3, alpha=2),
    "glora-older": kinds.lycoris2("glora", "GLoRAModule", [Q, K, OUT, ONE], "a1.weight", lora_dim=3, alpha=3),
    "oft": kinds.lycoris(OFT, ALL, lora_dim=4),
    "oft-constrained": kinds.lycoris(OFT, ALL, original=False, lora_dim=4, constraint=0.02, rescaled=True),
    "oft-older": kinds.lycoris2("diag_oft", "DiagOFTModule", [Q, CONV, ONE], "oft_diag", lora_dim=4, rescaled=True),
    "boft": kinds.lycoris(BOFT, [Q, K, CONV, ONE], lora_dim=4),
    "boft-constrained": kinds.lycoris(BOFT, [Q, K, CONV, ONE], original=False, lora_dim=8, constraint=0.03, rescaled=True),
    "dylora": kinds.lycoris(("dylora", "DyLoraModule"), [Q, CONV, ONE], lora_dim=4, alpha=2, block_size=2),
    "sparse": kinds.sparse,
    "lycoris-names": kinds.lycoris_wrapper,
}


def write_file(name, state, metadata):
    path = os.path.join(common.TESTDATA, "lora", name + ".safetensors")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: v.contiguous() for k, v in sorted(state.items())}, path, metadata=metadata or None)
    os.chmod(path, 0o644)
    print(f"testdata/lora/{name}.safetensors: {len(state)} tensors, {os.path.getsize(path)} bytes")
    return path


def run(pipe):
    return pipe(generator=torch.Generator("cpu").manual_seed(0), output_type="latent", **CALL).images


def with_merged(merged):
    """Latents of the tiny model with weights in place of its own."""
    pipe = common.pipeline("tiny")
    for (component, name), value in merged.items():
        model = getattr(pipe, component)
        parameters = dict(model.named_parameters())
        key = name if name in parameters else name.removeprefix("text_model.")
        parameters[key].data.copy_(value)
    return run(pipe)


def with_diffusers(path):
    pipe = common.pipeline("tiny")
    pipe.load_lora_weights(os.path.dirname(path), weight_name=os.path.basename(path))
    return run(pipe)


def main(wanted):
    goldens, base = {}, run(common.pipeline("tiny"))
    if wanted:
        old = load_file(os.path.join(common.TESTDATA, "goldens", "lora.safetensors"))
        goldens = {k: v for k, v in old.items() if k.split("/")[0] in CASES and k.split("/")[0] not in wanted}
    for name, case in CASES.items():
        if wanted and name not in wanted:
            continue
        generator = torch.Generator("cpu").manual_seed(SEED + zlib.crc32(name.encode()) % 10000)
        torch.manual_seed(SEED)  # what the libraries draw themselves
        state, metadata, merged = case(common.pipeline("tiny"), generator)
        path = write_file(name, state, metadata)
        latents = with_merged(merged)
        if name in DIFFUSERS:
            theirs = with_diffusers(path)
            error = ((latents - theirs).norm() / theirs.norm()).item()
            if not error < 2e-5:
                raise RuntimeError(f"{name}: diffusers' latents are off by {error}")
            latents = theirs
        change = ((latents - base).norm() / base.norm()).item()
        if not 1e-3 < change < 10:
            raise RuntimeError(f"{name}: the latents change by {change}")
        goldens[f"{name}/latents"] = latents
        goldens.update({f"{name}/{c}/{t}": v for (c, t), v in merged.items()})
    versions = {p: common.version(p) for p in ("peft", "lycoris_lora")} | {"lycoris_lora (older)": "2.0.0", "sd-scripts": "48d368fa"}
    common.write("goldens/lora.safetensors", goldens, common.metadata("lora.py", seed=SEED, call=CALL, libraries=versions))


def names():
    """Every name that sd-scripts gives the modules of SDXL, and the path that diffusers finds for it."""
    from diffusers.loaders.lora_conversion_utils import _convert_unet_lora_key as convert
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers as to_diffusers
    lora = kinds.sd_scripts("lora")
    original = sys.modules["library.sdxl_original_unet"]
    with torch.device("meta"):
        network = lora.LoRANetwork([], original.SdxlUNet2DConditionModel(), lora_dim=1, conv_lora_dim=1, is_sdxl=True)
    config = diffusers.UNet2DConditionModel.load_config(os.path.join(common.folder("base"), "unet"))
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(config)
    paths = {n.replace(".", "_"): n for n, _ in unet.named_modules()}
    table = {}
    for m in network.unet_loras:
        key = f"{m.lora_name}.lora_down.weight"
        name = convert(next(iter(to_diffusers({key: torch.zeros(1)}, unet.config))))
        name = name.replace(".processor", "").replace("to_out_lora", "to_out.0").removesuffix(".down.weight")
        name = name.removesuffix("_lora").removesuffix(".lora")
        table[m.lora_name] = paths[name.replace(".", "_")]
    path = os.path.join(common.ROOT, "nn", "weights", "lora", "testdata", "names.json.gz")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(gzip.compress(json.dumps({"script": "tools/reference/lora.py names", "names": table}, sort_keys=True).encode(), mtime=0))
    print(f"{os.path.relpath(path, common.ROOT)}: {len(table)} names, {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    names() if sys.argv[1:] == ["names"] else main(sys.argv[1:])
