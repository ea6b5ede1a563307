"""Writes nn/weights/testdata/synth.json: synthetic tensors as synth.py computes them, for goxl's own function to match bit for bit.

    python tools/reference/synth_golden.py

Small tensors are stored whole (little-endian bytes in hex), large ones as their SHA-256.
"""

import hashlib
import json
import os

import numpy as np

import synth

TENSORS = (
    ("unet", "conv_in.weight", (3, 4, 3, 3)),
    ("unet", "conv_in.bias", (7,)),
    ("unet", "conv_norm_out.weight", (9,)),
    ("unet", "down_blocks.0.resnets.0.conv2.weight", (2, 2, 3, 3)),
    ("unet", "down_blocks.1.attentions.0.proj_out.weight", (3, 5)),
    ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.weight", (4, 4)),
    ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.weight", (6, 3)),
    ("unet", "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.2.weight", (3, 6)),
    ("unet", "time_embedding.linear_1.weight", (5, 4)),
    ("vae", "decoder.mid_block.attentions.0.to_out.0.weight", (4, 4)),
    ("text_encoder", "text_model.embeddings.token_embedding.weight", (11, 3)),
    ("text_encoder", "text_model.embeddings.position_embedding.weight", (5, 3)),
    ("text_encoder_2", "text_model.encoder.layers.0.self_attn.out_proj.weight", (3, 3)),
    ("text_encoder_2", "text_model.encoder.layers.0.mlp.fc2.weight", (3, 7)),
    ("text_encoder_2", "text_projection.weight", (3, 3)),
    ("alt/text_encoder_2", "text_projection.weight", (3, 3)),
    ("unet", "mid_block.resnets.0.conv1.weight", (131, 257, 3, 3)),
)


def main():
    cases = []
    for component, key, shape in TENSORS:
        for dtype, name in (("float32", "fp32"), ("float16", "fp16")):
            data = synth.tensor(f"{component}/{key}", shape, dtype).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
            case = {"component": component, "key": key, "shape": shape, "dtype": name}
            if len(data) <= 1024:
                case["data"] = data.hex()
            else:
                case["sha256"] = hashlib.sha256(data).hexdigest()
            cases.append(case)
    golden = {"generator": "tools/reference/synth_golden.py", "numpy": np.__version__, "tensors": cases}
    path = os.path.join(os.path.dirname(__file__), "..", "..", "nn", "weights", "testdata", "synth.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
