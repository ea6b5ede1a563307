"""Makes the scenes' specs: python make_specs.py --data DATA --work WORK --count 400000 [--paint]. DATA holds atlas.npz and tokenizer/. Writes WORK/specs.npz (training)
and WORK/held.npz (other seed, nothing cropped, for PSNR). --paint: with objects in other colours than their artwork's."""
import argparse
import os

import numpy as np
import tokenizers

import paint
import scenes
from models import TOKENS
from common import log


def encode(path, texts):
    tok = tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    tok.no_padding()
    tok.no_truncation()
    end = tok.token_to_id("<|endoftext|>")
    out = np.full((len(texts), TOKENS), end, np.int64)
    for i, e in enumerate(tok.encode_batch(texts)):
        ids = e.ids[: TOKENS - 1] + [end]
        out[i, : len(ids)] = ids
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--count", type=int, default=400000)
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--paint", action="store_true")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    _, objects = (paint.load if a.paint else scenes.load_objects)(os.path.join(a.data, "atlas.npz"))
    for name, count, seed in (("specs", a.count, 1), ("held", max(3000, min(20000, a.count // 10)), 77)):
        made = scenes.make_many(count, objects, a.workers, seed)
        packed = scenes.pack(made, encode(os.path.join(a.data, "tokenizer"), [s["text"] for s in made]))
        np.savez(os.path.join(a.work, name + ".npz"), **packed)
        log(a.work, f"{name}: {len(packed['n'])} specs of {len(made)}, {len({s['text'] for s in made})} captions")


if __name__ == "__main__":
    main()
