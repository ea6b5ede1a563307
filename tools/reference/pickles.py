"""Writes nn/weights/testdata/pickles: files of torch.save in every form, and the same tensors as safetensors.

    python tools/reference/pickles.py

`twin.safetensors` holds the tensors of `zip2`, `zip5`, `legacy2`, `legacy4` and `deflated` in order; they have views,
strides and storages that are shared. `checkpoint` is a training checkpoint: a state_dict, an optimizer, callbacks of
PyTorch Lightning (which is not installed: the classes are made up) and numbers of numpy's. `embedding_*` are textual inversions of
A1111 and diffusers, `adapter` has dictionaries in one another as IP-Adapter's. Tensors of these have the names in
`named.safetensors` after FILE/. `calls` and `module` call what no tensor needs, `tensor` and `list` hold no dictionary.
"""

import collections
import os
import pickle
import sys
import types
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "nn", "weights", "testdata", "pickles")


def path(name):
    return os.path.join(FOLDER, name)


def tensors():
    g = torch.Generator().manual_seed(15)
    base = torch.randn(6, 8, generator=g)
    half = torch.randn(4, 3, 2, generator=g).to(torch.float16)
    t = {
        "f32": base, "f64": torch.randn(3, generator=g, dtype=torch.float64), "f16": half, "bf16": torch.randn(5, generator=g).to(torch.bfloat16),
        "e4m3": torch.randn(7, generator=g).to(torch.float8_e4m3fn), "e5m2": torch.randn(2, 3, generator=g).to(torch.float8_e5m2),
        "i64": torch.arange(-2, 3), "i32": torch.arange(4, dtype=torch.int32), "i16": torch.arange(3, dtype=torch.int16),
        "i8": torch.tensor([-128, 127, 0], dtype=torch.int8), "u8": torch.tensor([0, 255], dtype=torch.uint8),
        "u16": torch.tensor([1, 65535], dtype=torch.uint16), "bool": torch.tensor([True, False, True]),
        "c64": torch.tensor([1 + 2j, -3j], dtype=torch.complex64),
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "parameter": torch.nn.Parameter(torch.randn(3, generator=g)),
        "rows": base[2:5], "columns": base[:, 1:4], "transposed": base.t(), "steps": base[::2, ::3], "offset": base.view(-1)[7:],
        "permuted": half.permute(2, 0, 1), "half.steps": half[:, ::2], "expanded": torch.tensor([[1.5], [-2.0]]).expand(2, 5), "same": base,
        "e4m3.transposed": torch.randn(3, 4, generator=g).to(torch.float8_e4m3fn).t(),
    }
    t["attributed"] = torch.randn(2, 2, generator=g)
    t["attributed"].note = "an attribute, which makes torch.save write its class"
    return t


def contiguous(t):
    return {name: x.detach().clone(memory_format=torch.contiguous_format) for name, x in t.items()}


def opaque_class(module, name):
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(".".join(parts[: i + 1])))
    made = type(name, (), {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


class Calls:
    def __reduce__(self):
        return os.system, ("true",)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    made = {"generator": "tools/reference/pickles.py", "torch": torch.__version__, "seed": "15"}
    t = tensors()
    save_file(contiguous(t), path("twin.safetensors"), metadata=made)
    torch.save(t, path("zip2.pt"), pickle_protocol=2)
    torch.save(collections.OrderedDict(t), path("zip5.bin"), pickle_protocol=5)
    torch.save(t, path("legacy2.ckpt"), pickle_protocol=2, _use_new_zipfile_serialization=False)
    torch.save(t, path("legacy4.pth"), pickle_protocol=4, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(path("zip2.pt")) as src, zipfile.ZipFile(path("deflated.pt"), "w", zipfile.ZIP_DEFLATED) as dst:
        for entry in src.infolist():
            dst.writestr(zipfile.ZipInfo(entry.filename), src.read(entry), zipfile.ZIP_DEFLATED)

    named = {}

    def save(file, obj, names, **how):
        torch.save(obj, path(file), **how)
        named.update({f"{file}/{name}": x.detach().clone() for name, x in names.items()})

    linear = torch.nn.Linear(4, 3)
    torch.manual_seed(15)
    torch.nn.init.normal_(linear.weight)
    torch.nn.init.normal_(linear.bias)
    linear(torch.ones(2, 4)).sum().backward()
    optimizer = torch.optim.AdamW(linear.parameters())
    optimizer.step()
    callback = opaque_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    state = linear.state_dict()  # an OrderedDict with an attribute _metadata
    save("checkpoint.ckpt", {
        "epoch": 3, "global_step": 1000, "pytorch-lightning_version": "1.4.2", "state_dict": state,
        "callbacks": {callback: {"monitor": "val/loss", "best_model_score": torch.tensor(0.25), "score": np.float64(0.25)}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [{"milestones": collections.Counter({5: 1}), "device": torch.device("cpu")}],
    }, dict(state))
    vectors = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    save("embedding_a1111.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "style", "step": 500,
        "sd_checkpoint": None, "sd_checkpoint_name": None}, {"string_to_param.*": vectors})
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors)})
    save("embedding_module.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": parameters}, {"string_to_token.*": torch.tensor(265), "string_to_param.*": vectors})
    save("embedding_single.pt", {"string_to_param": {"*": vectors}}, {"string_to_param.*": vectors})
    save("embedding_diffusers.bin", {"<style>": vectors[0].clone()}, {"<style>": vectors[0]})
    save("adapter.bin", {"image_proj": {"proj.weight": vectors}, "ip_adapter": {"1.to_k_ip.weight": vectors.t(), 3: {"x": torch.ones(1)}}},
         {"image_proj.proj.weight": vectors, "ip_adapter.1.to_k_ip.weight": vectors.t().contiguous(), "ip_adapter.3.x": torch.ones(1)})
    save("wrapped.pth", {"params_ema": {"conv.weight": vectors}}, {"conv.weight": vectors})
    save_file(named, path("named.safetensors"), metadata=made)

    torch.save({"a": vectors, "b": Calls()}, path("calls.pt"))
    torch.save(linear, path("module.pt"))
    torch.save(vectors, path("tensor.pt"))
    torch.save([vectors], path("list.pt"))
    with open(path("bare.pkl"), "wb") as f:
        pickle.dump({"a": 1}, f)
    for name in os.listdir(FOLDER):
        os.chmod(path(name), 0o644)


if __name__ == "__main__":
    main()
