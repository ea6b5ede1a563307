"""Writes the checkpoints that an exported base was made from: python from_folder.py --data DATA --work WORK --model ../../models/demo/base. WORK then has vae_final.pt
and base.pt with the averaged weights in half precision's values, and no moments: enough to sample, to train a refiner, or to go on with the base at a rate that rises anew. DATA's tokenizer becomes the model's,
whose ids the text encoders learned: one that prepare.py makes anew has as many tokens, but not the same. So this comes before make_specs.py. --keep: a base.pt that is in WORK
stays, for training that goes on."""
import argparse
import os
import shutil

from safetensors.torch import load_file

import models
import train_base
from common import canonical, save


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--keep", action="store_true")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    shutil.copytree(os.path.join(a.model, "tokenizer"), os.path.join(a.data, "tokenizer"), dirs_exist_ok=True)
    read = lambda part, file: {canonical(k): v.float() for k, v in load_file(os.path.join(a.model, part, file + ".safetensors")).items()}
    prefixed = lambda prefix, tensors: {f"{prefix}.{k}": v for k, v in tensors.items()}
    ema = {**prefixed("encoder1", read("text_encoder", "model")), **prefixed("encoder2", read("text_encoder_2", "model")),
           **prefixed("unet", read("unet", "diffusion_pytorch_model"))}
    want = {canonical(n): q.shape for n, q in train_base.build(a.data, "cpu").named_parameters()}
    wrong = sorted(n for n in want.keys() | ema.keys() if want.get(n) != getattr(ema.get(n), "shape", None))
    if wrong:
        raise SystemExit(f"{a.model} does not hold this code's base: missing, unknown or of another shape: {', '.join(wrong[:8])}")
    vae = load_file(os.path.join(a.model, "vae", "diffusion_pytorch_model.safetensors"))
    models.vae().load_state_dict(vae)
    save(a.work, "vae_final", {k: v.float() for k, v in vae.items()})
    if a.keep and os.path.exists(os.path.join(a.work, "base.pt")):
        print(f"{a.work}: base.pt stays")
        return
    save(a.work, "base", dict(params=ema, ema=ema, steps=0, seconds=0.0))
    print(f"{a.work}: vae_final.pt and base.pt of {len(ema)} tensors")


if __name__ == "__main__":
    main()
