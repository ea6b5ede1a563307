"""The adapters of PEFT and diffusers that lora.py writes; see lora_kinds.py."""

import os
import tempfile

import diffusers
import torch
from diffusers.utils import convert_state_dict_to_kohya
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file

import lora_kinds as kinds


def adapters(pipe, generator, unet, text=(), text_alpha=2):
    """PEFT adapters on the UNet and both encoders, with random factors."""
    pipe.unet.add_adapter(unet, adapter_name="style")
    models = [("unet", pipe.unet)]
    for component in text:
        getattr(pipe, component).add_adapter(
            LoraConfig(r=3, lora_alpha=text_alpha, target_modules=["q_proj", "fc1"], layers_to_transform=[0],
                       layers_pattern="layers"), adapter_name="style")
        models.append((component, getattr(pipe, component)))
    merged = {}
    for component, model in models:
        for name, layer in model.named_modules():
            if not hasattr(layer, "base_layer"):
                continue
            factors = [p for k, p in layer.named_parameters() if "lora_A" in k or "lora_B" in k]
            kinds.randomise(factors, generator)
            for k, p in layer.named_parameters():
                if "magnitude" in k:
                    p.data.mul_(1 + 0.2 * torch.randn(p.shape, generator=generator))
            old = {k: p.data.clone() for k, p in layer.base_layer.named_parameters()}
            x, want = forward(layer)
            layer.merge()
            error = ((layer.base_layer(x) - want).norm() / want.norm()).item()
            if not error < 1e-5:
                raise RuntimeError(f"{name}: PEFT's forward is not its weight: {error}")
            tensor = name if component == "unet" else "text_model." + name.removeprefix("text_model.")
            merged[component, tensor + ".weight"] = layer.base_layer.weight.data.clone()
            if getattr(layer, "lora_bias", {}).get("style"):
                merged[component, tensor + ".bias"] = layer.base_layer.bias.data.clone()
            layer.unmerge()
            for k, p in layer.base_layer.named_parameters():
                p.data.copy_(old[k])
    return merged


@torch.no_grad()
def forward(layer):
    """An input of a layer, and what the layer with its adapter makes of it before anything is merged."""
    size = (2, layer.in_features) if isinstance(layer.base_layer, torch.nn.Linear) else (1, layer.in_features, 6, 6)
    x = torch.randn(size, generator=torch.Generator("cpu").manual_seed(1))
    return x, layer.eval()(x)


def saved(pipe, text=()):
    """What diffusers writes: the state dict and the metadata of the file."""
    options = {}
    for component in ("unet", *text):
        model = getattr(pipe, component)
        state = get_peft_model_state_dict(model, adapter_name="style")
        options[f"{component}_lora_layers"] = {k.replace("text_model.text_model.", "text_model."): v for k, v in state.items()}
        config = model.peft_config["style"].to_dict()
        options[f"{component}_lora_adapter_metadata"] = {
            k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    with tempfile.TemporaryDirectory() as folder:
        diffusers.StableDiffusionXLPipeline.save_lora_weights(folder, **options)
        path = os.path.join(folder, "pytorch_lora_weights.safetensors")
        with safe_open(path, "pt") as f:
            metadata = f.metadata()
        return load_file(path), metadata


def target(*paths):
    return "(" + "|".join(p.replace(".", r"\.") for p in paths) + ")"


def peft(text=("text_encoder", "text_encoder_2"), paths=(kinds.Q, kinds.K, kinds.OUT, kinds.CONV, kinds.ONE), text_alpha=2, **options):
    def case(pipe, generator):
        config = dict(r=3, lora_alpha=6, target_modules=target(*paths), rank_pattern={kinds.K: 2}) | options
        merged = adapters(pipe, generator, LoraConfig(**config), text, text_alpha)
        state, metadata = saved(pipe, text)
        return state, metadata, merged
    return case


def renamed(case, rename, drop_metadata=True):
    """A case under other names, such as those of files that diffusers wrote before it had PEFT."""
    def other(pipe, generator):
        state, metadata, merged = case(pipe, generator)
        return {rename(k): v for k, v in state.items()}, {} if drop_metadata else metadata, merged
    return other


def before_peft(key):
    """The names of diffusers 0.17 to 0.19: attention processors, and layers in linear layers."""
    key = key.replace(".lora_A.weight", ".down.weight").replace(".lora_B.weight", ".up.weight")
    stem, part = key.rsplit(".", 2)[0], key.split(".")[-2]
    if ".attn" in stem:
        head, _, layer = stem.replace(".to_out.0", ".to_out").rpartition(".")
        return f"{head}.processor.{layer}_lora.{part}.weight"
    if stem.startswith("text_encoder"):
        return f"{stem}.lora_linear_layer.{part}.weight"
    return f"{stem}.lora.{part}.weight"


def comfy(key):
    """Dotted names as ComfyUI saves them."""
    key = key.replace("text_encoder_2.", "clip_g.transformer.").replace("text_encoder.", "clip_l.transformer.")
    for path, original in kinds.ORIGINAL.items():
        key = key.replace("unet." + path + ".", "diffusion_model." + original + ".")
    return key.replace("lora_A", "lora_down").replace("lora_B", "lora_up")


def named(key):
    """PEFT's own names of a named adapter, without .weight for some."""
    return key.replace("lora_A.weight", "lora_A.style.weight").replace("lora_B.weight", "lora_B.style")


def to_kohya(pipe, generator):
    """diffusers' own conversion of PEFT's names to kohya's, with diffusers' paths."""
    state, _, merged = peft(lora_alpha=3, rank_pattern={}, text=())(pipe, generator)
    return {k.replace("unet_", "lora_unet_", 1) if not k.startswith("lora") else k: v for k, v in
            convert_state_dict_to_kohya(state).items()}, {}, merged
