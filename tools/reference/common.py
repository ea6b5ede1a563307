"""Shared by the golden writers: paths, versions, and models built from their configs with synthetic weights."""

import json
import os
from importlib.metadata import version

import diffusers
import torch
import transformers
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

import synth

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TESTDATA = os.path.join(ROOT, "testdata")
EMBEDDED = ("base", "refiner", "tiny", "tiny-refiner")
NAMES = ("tiny", "tiny-b", "tiny-c", "tiny-refiner", "tiny-refiner-own")
# A model whose component is drawn under another name than its folder's, so that its values differ
# from those of a component with the same configuration.
SEED_NAMES = {"tiny-refiner-own": {"text_encoder_2": "alt/text_encoder_2"}}

torch.set_num_threads(1)
torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)


def same_noise_in_float64():
    """Makes torch.randn's float64 numbers the float32 ones, so that a float64 run of the same thing sees the same noise."""
    original = torch.randn

    def randn(*size, dtype=None, **options):
        if dtype == torch.float64:
            return original(*size, dtype=torch.float32, **options).double()
        return original(*size, dtype=dtype, **options)

    torch.randn = randn


def folder(name):
    """Where the configuration of a model lies: embedded ones in models/sdxl/synthetic, others in testdata/models."""
    if name in EMBEDDED:
        return os.path.join(ROOT, "models", "sdxl", "synthetic", name)
    return os.path.join(TESTDATA, "models", name)


def metadata(script, **more):
    packages = ("torch", "diffusers", "transformers", "safetensors", "numpy")
    meta = {"script": f"tools/reference/{script}", "versions": ", ".join(f"{p} {version(p)}" for p in packages)}
    meta.update({k: v if isinstance(v, str) else json.dumps(v) for k, v in more.items()})
    return meta


def write(path, tensors, meta):
    """Writes testdata/<path>; every tensor contiguous, float32, int64 or uint8."""
    full = os.path.join(TESTDATA, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    save_file({k: v.detach().clone().contiguous() for k, v in sorted(tensors.items())}, full, metadata=meta)
    os.chmod(full, 0o644)
    print(f"{os.path.relpath(full, ROOT)}: {len(tensors)} tensors, {os.path.getsize(full)} bytes")


def synthetic_key(model, key):
    """The checkpoint's key: transformers >= 5.6 dropped 'text_model.' from CLIPTextModel."""
    if isinstance(model, CLIPTextModel) and not key.startswith("text_model."):
        return "text_model." + key
    return key


def fill(model, seed_name, dtype="float32"):
    """Gives every tensor of model its synthetic value, rounded to dtype and held in float32."""
    state = {}
    for key, old in model.state_dict().items():
        if key.endswith("position_ids"):
            continue
        value = synth.tensor(f"{seed_name}/{synthetic_key(model, key)}", old.shape, dtype)
        state[key] = torch.from_numpy(value).float()
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    if unexpected or any(not k.endswith("position_ids") for k in missing):
        raise RuntimeError(f"{seed_name}: missing {missing}, unexpected {unexpected}")
    return model.eval()


def text_class(component):
    return CLIPTextModel if component == "text_encoder" else CLIPTextModelWithProjection


def component(name, part):
    """One component of a model, built from its JSON with synthetic weights, or None where the model has none."""
    path = os.path.join(folder(name), part)
    if not os.path.isdir(path):
        return None
    if part.startswith("tokenizer"):
        return CLIPTokenizer.from_pretrained(path)
    if part == "scheduler":
        with open(os.path.join(path, "scheduler_config.json")) as f:
            cls = getattr(diffusers, json.load(f)["_class_name"])
        return cls.from_pretrained(path)
    if part.startswith("text_encoder"):
        model = text_class(part)(CLIPTextConfig.from_pretrained(path))
    else:
        cls = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}[part]
        model = cls.from_config(cls.load_config(path))
    return fill(model, SEED_NAMES.get(name, {}).get(part, part))


def pipeline(name, cls=None, **options):
    """The model as the pipeline class its model_index.json names, or as cls."""
    with open(os.path.join(folder(name), "model_index.json")) as f:
        index = json.load(f)
    cls = cls or getattr(diffusers, index["_class_name"])
    parts = {p: component(name, p) for p in
             ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")}
    for key in ("force_zeros_for_empty_prompt", "requires_aesthetics_score"):
        if key in index and not (key == "requires_aesthetics_score" and cls is diffusers.StableDiffusionXLPipeline):
            options.setdefault(key, index[key])
    options.setdefault("add_watermarker", False)
    pipe = cls(**parts, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


assert transformers.__version__.startswith("5."), transformers.__version__
