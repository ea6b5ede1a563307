#!/usr/bin/env python3
"""Writes testdata/goldens/prompt_styles.safetensors: embeddings and latents of prompts in every style, on the model tiny.

    venv/bin/python tools/reference/prompt_styles.py [--sources DIR]

What turns prompts into embeddings is the tools' own code, see prompts.py: Forge's ClassicTextProcessingEngine (A1111's
in a class of its own), ComfyUI's SDTokenizer and ClipTokenWeightEncoder, compel's CompelForSDXL, and diffusers' pipeline
with load_textual_inversion. Latents are denoised with diffusers' UNet and scheduler; sub-prompts and schedules as
A1111's sampler has them: u + sum of w * (c - u) * guidance, with the text of each step by reconstruct_cond_batch.
"""

import argparse
import json
import logging
import re
import tempfile
import types

import torch
from compel import CompelForSDXL

import common
import prompts

SEED, STEPS, GUIDANCE, SIZE = 20261129, 4, 6.0, (48, 40)  # height, width
VECTORS = {"zxq": (2, 2), "my style": (1, 1), "big": (6, 6)}  # for text_encoder and text_encoder_2
LONG = "a photo of a lighthouse, stormy sea, heavy clouds, dramatic light, " * 4
CASES = [
    {"name": "plain", "style": "plain", "prompt": "a (red:1.4) fox", "negative": "blur"},
    {"name": "plain inversion", "style": "plain", "prompt": "a zxq fox, my style", "negative": "Zxq"},
    {"name": "a1111", "style": "a1111", "prompt": "a (red:1.4) [fox] in ((snow)), zxq", "negative": "(blur:1.3), my style"},
    {"name": "a1111 no norm", "style": "a1111", "emphasis": "nonorm", "prompt": "a (red:1.4) [fox] in ((snow))", "negative": ""},
    {"name": "a1111 long", "style": "a1111", "prompt": LONG + "(big:1.2) BREAK a fox", "negative": "blur"},
    {"name": "a1111 schedule", "style": "a1111", "prompt": "a [fox:wolf:0.4] in [snow|rain], [zxq:2]", "negative": "[blur::2]"},
    {"name": "a1111 and", "style": "a1111", "prompt": "a fox :1.1 AND (snow:1.2) :-0.4 AND [sea:sky:1]", "negative": "blur"},
    {"name": "comfy", "style": "comfy", "prompt": "a (red:1.4) fox in ((snow)) embedding:zxq, [x]", "negative": "(blur:0.6) embedding:big"},
    {"name": "comfy long", "style": "comfy", "prompt": LONG + "(a fox:1.3)", "negative": "blur"},
    {"name": "compel", "style": "compel", "prompt": "a red++ fox in (deep snow)1.3", "negative": "blur+"},
    {"name": "compel down", "style": "compel", "prompt": "a red-- fox in (deep snow)0.5", "negative": "blur"},
    {"name": "compel and", "style": "compel", "prompt": '("a red+ fox", "deep snow").and(1, 0.6)', "negative": "blur"},
    {"name": "compel blend", "style": "compel", "prompt": '("a red fox", "a grey wolf-").blend(0.7, 0.3)', "negative": ""},
    {"name": "compel long", "style": "compel", "prompt": LONG + "a fox+. " + LONG, "negative": "blur"},
]


def vectors(k, width):
    """The embeddings for encoder k, 0 or 1."""
    generator = torch.Generator().manual_seed(SEED + k)
    return {name: 0.05 * torch.randn(n[k], width, generator=generator) for name, n in VECTORS.items()}


def text_model(encoder):
    return getattr(encoder, "text_model", encoder)


class Replaced:
    """Runs an encoder with vectors in the place of token 0 at some positions."""

    def __init__(self, encoder):
        self.encoder, self.at = encoder, []
        text_model(encoder).embeddings.token_embedding.register_forward_hook(self.hook)

    def hook(self, module, args, out):
        if self.at:
            out = out.clone()
            for row, position, vector in self.at:
                out[row, position] = vector
        return out

    def __call__(self, ids, at=()):
        self.at = list(at)
        out = self.encoder(torch.tensor(ids), output_hidden_states=True)
        self.at = []
        return out.hidden_states[-2], getattr(out, "text_embeds", None)


def a1111(folder, pipe, k, emphasis_name):
    """Forge's engine on encoder k: texts to hidden states and the pooled one."""
    opts = types.SimpleNamespace(emphasis={"nonorm": "No norm"}.get(emphasis_name, "Original"))
    emphasis = prompts.load(folder, "emphasis.py")
    database = prompts.load(folder, "textual_inversion.py", ["Embedding", "EmbeddingDatabase"])
    module = prompts.load(folder, "classic_engine.py", ["PromptChunkFix", "PromptChunk", "ClassicTextProcessingEngine", "last_extra_generation_params"],
                          torch=torch, parsing=prompts.load(folder, "parsing.py"), emphasis=emphasis, opts=opts,
                          namedtuple=__import__("collections").namedtuple, print=lambda *a: None)
    tok, encoder = (pipe.tokenizer, pipe.text_encoder) if k == 0 else (pipe.tokenizer_2, pipe.text_encoder_2)
    run = Replaced(encoder)

    class Engine(module.ClassicTextProcessingEngine):
        def __init__(self):
            self.tokenizer, self.chunk_length, self.embedding_key = tok, 75, "clip"
            self.id_start, self.id_end, self.id_pad = tok.bos_token_id, tok.eos_token_id, tok.pad_token_id
            self.comma_token = tok.get_vocab().get(",</w>")
            self.return_pooled = k == 1
            self.embeddings = database.EmbeddingDatabase(tok, 0)
            for name, v in vectors(k, encoder.config.hidden_size).items():
                e = database.Embedding(v, name)
                e.vectors = v.shape[0]
                self.embeddings.register_embedding(e)

        def encode_with_transformers(self, tokens):
            at = [(row, offset + 1 + i, e.vec[i]) for row, fixes in enumerate(self.embeddings.fixes) for offset, e in fixes for i in range(e.vectors)]
            z, pooled = run(tokens.tolist(), at)
            if pooled is not None:
                z.pooled = pooled
            return z

    return Engine()


def comfy(folder, pipe, k):
    module = prompts.load(folder, "sd1_clip.py", ["gen_empty_tokens", "ClipTokenWeightEncoder", "parse_parentheses", "token_weights", "escape_important", "unescape_important", "SDTokenizer"],
                          re=re, logging=logging, torch=torch, model_management=types.SimpleNamespace(intermediate_device=lambda: "cpu"))
    tok, encoder = (pipe.tokenizer, pipe.text_encoder) if k == 0 else (pipe.tokenizer_2, pipe.text_encoder_2)
    known, run = vectors(k, encoder.config.hidden_size), Replaced(encoder)
    module.load_embed = lambda name, *_: known.get(name)

    class Encoder(module.ClipTokenWeightEncoder):
        special_tokens = {"start": tok.bos_token_id, "end": tok.eos_token_id, "pad": tok.pad_token_id}

        def encode(self, batch):
            at = [(row, i, x) for row, tokens in enumerate(batch) for i, x in enumerate(tokens) if torch.is_tensor(x)]
            return run([[0 if torch.is_tensor(x) else x for x in tokens] for tokens in batch], at)

    t = module.SDTokenizer.__new__(module.SDTokenizer)
    t.tokenizer, t.max_length, t.min_length, t.min_padding, t.pad_left, t.disable_weights = tok, 77, None, None, False, False
    t.tokens_start, t.start_token, t.end_token, t.tokenizer_adds_end_token = 1, tok.bos_token_id, tok.eos_token_id, True
    t.pad_token, t.pad_to_max_length, t.max_word_length = tok.pad_token_id, True, 8
    t.embedding_directory, t.embedding_identifier, t.embedding_size, t.embedding_key = "", "embedding:", 0, "clip"
    return lambda text: Encoder().encode_token_weights(t.tokenize_with_weights(text))


def same_length(pairs, empty):
    """Pads hidden states with those of an empty prompt."""
    longest = max(z.shape[1] for z, _ in pairs)
    return [(torch.cat([z] + [empty] * ((longest - z.shape[1]) // empty.shape[1]), dim=1), pooled) for z, pooled in pairs]


def embed(folder, case):
    """[(positive parts, negative)] for each step, each (hidden, pooled), and the parts' weights."""
    pipe = common.pipeline("tiny")
    style, texts = case["style"], (case["prompt"], case["negative"])
    if style == "plain":
        if "inversion" in case["name"]:
            for k in (0, 1):
                encoder = (pipe.text_encoder, pipe.text_encoder_2)[k]
                tok = (pipe.tokenizer, pipe.tokenizer_2)[k]
                # With the id 2 in its place, transformers takes the largest id for the end, which is an embedding's.
                encoder.config.eos_token_id = tok.eos_token_id
                for module in encoder.modules():
                    if hasattr(module, "eos_token_id"):
                        module.eos_token_id = tok.eos_token_id
                for name, v in vectors(k, encoder.config.hidden_size).items():
                    pipe.load_textual_inversion(v, token=name, text_encoder=encoder, tokenizer=tok)
        p, n, pp, np = pipe.encode_prompt(texts[0], negative_prompt=texts[1], do_classifier_free_guidance=True)
        return [([(p, pp)], (n, np))] * STEPS, [1.0]
    if style == "compel":
        both = CompelForSDXL(pipe)
        both.compel_2.requires_pooled = False  # else a weight in .and() fails in compel 2.5.1, which takes a pair for a tensor

        def encode(text):
            pooled = both.compel_2.conditioning_provider.get_pooled_embeddings([text], device="cpu")
            return torch.cat([c.build_conditioning_tensor(text) for c in (both.compel_1, both.compel_2)], dim=-1), pooled

        p, n = same_length([encode(t) for t in texts], encode("")[0])
        return [([p], n)] * STEPS, [1.0]
    if style == "comfy":
        encoders = [comfy(folder, pipe, k) for k in (0, 1)]

        def encode(text):
            (l, _), (g, pooled) = encoders[0](text), encoders[1](text)
            cut = min(l.shape[1], g.shape[1])
            return torch.cat([l[:, :cut], g[:, :cut]], dim=-1), pooled

        p, n = same_length([encode(t) for t in texts], encode("")[0])
        return [([p], n)] * STEPS, [1.0]
    engines = [a1111(folder, pipe, k, case.get("emphasis")) for k in (0, 1)]

    def encode(text):
        z, pooled = engines[1]([text])
        return torch.cat([engines[0]([text]), z], dim=-1), pooled

    parser = prompts.load(folder, "prompt_parser.py")
    indexes, flat, _ = parser.get_multicond_prompt_list([texts[0]])
    schedules = parser.get_learned_conditioning_prompt_schedules(flat + [texts[1]], STEPS)
    steps = []
    for step in range(STEPS):
        now = [next(text for until, text in s if step <= until) for s in schedules]
        steps.append([encode(t) for t in now])
    padded = same_length([x for s in steps for x in s], encode("")[0])
    out = []
    for i, s in enumerate(steps):
        row = padded[i * len(s):(i + 1) * len(s)]
        out.append(([row[j] for j, _ in indexes[0]], row[-1]))
    return out, [w for _, w in indexes[0]]


def denoise(steps, weights):
    pipe = common.pipeline("tiny")
    height, width = SIZE
    factor = pipe.vae_scale_factor
    pipe.scheduler.set_timesteps(STEPS)
    x = torch.randn(1, pipe.unet.config.in_channels, height // factor, width // factor, generator=torch.Generator().manual_seed(SEED)) * pipe.scheduler.init_noise_sigma
    ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    for step, t in enumerate(pipe.scheduler.timesteps):
        scaled = pipe.scheduler.scale_model_input(x, t)

        def predict(side):
            return pipe.unet(scaled, t, encoder_hidden_states=side[0], added_cond_kwargs={"text_embeds": side[1], "time_ids": ids}, return_dict=False)[0]

        parts, negative = steps[step]
        u = predict(negative)
        noise = u.clone()
        for part, w in zip(parts, weights):
            noise += (predict(part) - u) * (w * GUIDANCE)
        x = pipe.scheduler.step(noise, t, x, return_dict=False)[0]
    return x


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", help="a folder with the files of prompts.SOURCES, in place of fetching them")
    args = parser.parse_args()
    tensors = {}
    with tempfile.TemporaryDirectory() as fetched:
        folder = args.sources or fetched
        if not args.sources:
            prompts.fetch(folder)
        for case in CASES:
            steps, weights = embed(folder, case)
            name = case["name"]
            (parts, negative) = steps[0]
            tensors[f"{name}.hidden"], tensors[f"{name}.pooled"] = parts[0]
            tensors[f"{name}.negative_hidden"], tensors[f"{name}.negative_pooled"] = negative
            tensors[f"{name}.latents"] = denoise(steps, weights)
            print(name, [tuple(z.shape) for z, _ in parts], weights)
    pipe = common.pipeline("tiny")
    for k, encoder in ((0, pipe.text_encoder), (1, pipe.text_encoder_2)):
        for name, v in vectors(k, encoder.config.hidden_size).items():
            tensors[f"vectors.{name}.{'lg'[k]}"] = v
    common.write("goldens/prompt_styles.safetensors", tensors, common.metadata(
        "prompt_styles.py", cases=CASES, names=list(VECTORS), seed=SEED, steps=STEPS, guidance=GUIDANCE, size=SIZE, pinned=prompts.PINNED,
        sources={k: f"{r}@{c}:{p}" for k, (r, c, p) in prompts.SOURCES.items()}))


if __name__ == "__main__":
    main()
