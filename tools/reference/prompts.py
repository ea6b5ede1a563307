#!/usr/bin/env python3
"""Writes tokenizer/prompt/testdata/prompts.json.gz: what A1111, ComfyUI and diffusers make of prompts.

    venv/bin/pip install lark==1.3.1 compel==2.5.1
    venv/bin/python tools/reference/prompts.py [--sources DIR]

Run from the repository root. The tools' own code runs: the files of SOURCES, fetched from GitHub at the commits named
there into a temporary folder, or taken from DIR where they lie by their base names.
Nothing that is fetched is kept. Token ids are those of transformers' CLIPTokenizer with CLIP's own vocabulary.
"""

import argparse
import ast
import doctest
import gzip
import json
import os
import random
import re
import sys
import tempfile
import types
import urllib.request
from importlib.metadata import version

import torch
from transformers import CLIPTokenizer

import tokenizer as vocabulary

SEED = 20261129
PINNED = {"transformers": "5.23.0", "tokenizers": "0.23.3", "lark": "1.3.1", "compel": "2.5.1"}
FORGE = "lllyasviel/stable-diffusion-webui-forge", "dfdcbab685e57677014f05a3309b48cc87383167"  # has A1111 1.10's own modules
COMFY = "Comfy-Org/ComfyUI", "4bd7a4004ab8bf0e516222036dc97733ddf3aa74"
SOURCES = {
    "prompt_parser.py": (*FORGE, "modules/prompt_parser.py"),
    "extra_networks.py": (*FORGE, "modules/extra_networks.py"),
    "parsing.py": (*FORGE, "backend/text_processing/parsing.py"),
    "emphasis.py": (*FORGE, "backend/text_processing/emphasis.py"),
    "classic_engine.py": (*FORGE, "backend/text_processing/classic_engine.py"),
    "textual_inversion.py": (*FORGE, "backend/text_processing/textual_inversion.py"),
    "sd1_clip.py": (*COMFY, "comfy/sd1_clip.py"),
}
OUT = "tokenizer/prompt/testdata/prompts.json.gz"
# The embeddings of the cases and how many vectors they have.
EMBEDDINGS = {"my-cat": 1, "bad hands": 3, "badly": 2, "style-x": 8, "wide-one": 40}


def fetch(folder):
    """Puts the files of SOURCES into a folder."""
    for name, (repo, commit, path) in SOURCES.items():
        with urllib.request.urlopen(f"https://raw.githubusercontent.com/{repo}/{commit}/{path}") as answer:
            data = answer.read()
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


def load(folder, name, only=None, **known):
    """The functions and classes of a source file as a module; only names those to take, with their assignments."""
    with open(os.path.join(folder, name)) as f:
        tree = ast.parse(f.read())
    if only:
        def wanted(node):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else [getattr(node, "name", "")]
            return any(n in only for n in names)
        tree.body = [node for node in tree.body if wanted(node)]
    module = types.ModuleType(name.removesuffix(".py"))
    module.__dict__.update(known)
    exec(compile(tree, name, "exec"), module.__dict__)
    return module


# --- texts --------------------------------------------------------------------------------------------------------

WORDS = ["a", "my-cat", "bad hands", "badly", "style-x", "masterpiece", "best quality", "1girl", "Rotkäppchen", "日本", "sun-lit", "extraordinarily", "red", "x", "AND", "BREAK", "BAND", "wide-one", "embedding:my-cat", "embedding:nothing", "it's", "<|endoftext|>", "ＡＢ", "é"]
SYNTAX = ["(", ")", "[", "]", ":", "|", "\\", "\\(", "\\)", "\\[", "\\]", "\\\\", ",", ", ", ".", " ", " ", " ", "\n", ":1.2)", ":0.5]", ":3]", ": 0.7 )", ":-1]", ":.5", "1.3", "++", "--", "+", "-", '"', "<lora:x:0.8>", "<a:b", ">", ":1e1]", "\u3000", "_"]


def random_text(rng, words=WORDS, syntax=SYNTAX, longest=14):
    n = rng.randint(0, longest)
    return "".join(rng.choice(words if rng.random() < 0.45 else syntax) for _ in range(n))


def nested(rng, depth=0):
    """A text that is mostly well formed, so that brackets are within brackets."""
    parts = []
    for _ in range(rng.randint(0, 3)):
        inner = lambda: nested(rng, depth + 1) if depth < 3 else rng.choice(WORDS)
        kind = rng.randint(0, 9)
        number = rng.choice(["1", "2", "3", "0.25", ".5", "0.7", "1.0", "7", "-1", " 3 ", "2e0", "1.5"])
        if kind < 3:
            parts.append(rng.choice(WORDS) + " ")
        elif kind == 3:
            parts.append(f"({inner()})")
        elif kind == 4:
            parts.append(f"({inner()}:{number})")
        elif kind == 5:
            parts.append(f"[{inner()}]")
        elif kind == 6:
            parts.append(f"[{inner()}:{inner()}:{number}]")
        elif kind == 7:
            parts.append(f"[{inner()}:{number}]")
        elif kind == 8:
            parts.append("[" + "|".join(inner() for _ in range(rng.randint(2, 4))) + "]")
        else:
            parts.append(rng.choice(SYNTAX))
    return "".join(parts)


def long_text(rng):
    """A text of some chunks."""
    parts = []
    for _ in range(rng.randint(20, 90)):
        word = rng.choice(WORDS[:10])
        roll = rng.random()
        if roll < 0.1:
            word = f"({word}:{rng.choice(['0.5', '1.3', '1'])})"
        elif roll < 0.2:
            word = f"({word} {rng.choice(WORDS[:10])})"
        elif roll < 0.23:
            word += " BREAK"
        elif roll < 0.3:
            word = "embedding:" + rng.choice(list(EMBEDDINGS))
        parts.append(word + (", " if rng.random() < 0.3 else " "))
    return "".join(parts)


# --- what each tool makes of them -----------------------------------------------------------------------------------


def clip_tokenizer(pad):
    vocab, merges = vocabulary.full_vocabulary()
    return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77)


def doctests(parser):
    """The examples of A1111's own docstrings, with what they print; those that A1111 itself fails are marked so."""
    cases = []
    for found in doctest.DocTestFinder().find(parser, globs=parser.__dict__):
        if not found.examples:
            continue
        globs, hires = dict(parser.__dict__), False
        for example in found.examples:
            source = example.source.strip()
            if source.startswith("g = "):
                exec(source, globs)
                hires = ", 10, 10)" in source
                continue
            if hires:
                continue  # the second pass of hires fix has no steps here
            want = ast.literal_eval(example.want)
            call = ast.parse(source, mode="eval").body
            got = eval(source, globs)
            cases.append({"function": "schedule" if call.func.id == "g" else call.func.id, "text": ast.literal_eval(call.args[0]) if isinstance(call.args[0], ast.Constant) else "", "want": got, "upstream_differs": got != want})
    return cases


def embedding(name, width=4):
    return torch.arange(EMBEDDINGS[name], dtype=torch.float32).reshape(-1, 1).repeat(1, width)


def a1111_chunks(engine_module, database_module, tok, text):
    """Chunks of Forge's engine, embeddings as [name, vector]."""
    engine = engine_module.ClassicTextProcessingEngine.__new__(engine_module.ClassicTextProcessingEngine)
    engine.tokenizer, engine.chunk_length = tok, 75
    engine.id_start, engine.id_end, engine.id_pad = tok.bos_token_id, tok.eos_token_id, tok.pad_token_id
    engine.comma_token = tok.get_vocab().get(",</w>")
    engine.emphasis = types.SimpleNamespace(name="Original")
    engine.embeddings = database_module.EmbeddingDatabase(tok, 4)
    for name in EMBEDDINGS:
        e = database_module.Embedding(embedding(name), name)
        e.vectors = EMBEDDINGS[name]
        engine.embeddings.register_embedding(e)
    chunks, _ = engine.tokenize_line(text)
    out = []
    for chunk in chunks:
        ids = list(chunk.tokens)
        if engine.id_end != engine.id_pad:  # process_tokens
            index = ids.index(engine.id_end)
            ids[index + 1:] = [engine.id_pad] * (len(ids) - index - 1)
        names = [None] * len(ids)
        for offset, e in chunk.fixes:
            if offset + 1 + e.vectors > 76:
                return None  # its tokens were moved on after a comma and its vectors were not: a defect that is not copied
            for i in range(e.vectors):
                if chunk.tokens[offset + 1 + i] != 0:
                    return None
                names[offset + 1 + i] = [e.name, i]
        if any(t == 0 and n is None and i < len(ids) - 1 for i, (t, n) in enumerate(zip(chunk.tokens, names))):
            return None
        out.append([ids, list(chunk.multipliers), names])
    return out


def comfy_chunks(comfy, tok, pad, text):
    t = comfy.SDTokenizer.__new__(comfy.SDTokenizer)
    t.tokenizer, t.max_length, t.min_length, t.min_padding, t.pad_left, t.disable_weights = tok, 77, None, None, False, False
    t.tokens_start, t.start_token, t.end_token, t.tokenizer_adds_end_token = 1, tok.bos_token_id, tok.eos_token_id, True
    t.pad_token, t.pad_to_max_length, t.max_word_length = pad, True, 8
    t.embedding_directory, t.embedding_identifier, t.embedding_size, t.embedding_key = "", "embedding:", 4, "clip_l"

    class Named:
        """An embedding whose rows say what they are."""

        def __init__(self, name):
            self.name, self.shape = name, (EMBEDDINGS[name], 4)

        def __getitem__(self, i):
            return [self.name, i]

    comfy.load_embed = lambda name, *_: Named(name) if name in EMBEDDINGS else None
    out = []
    for chunk in t.tokenize_with_weights(text):
        named = [isinstance(x, list) for x, _ in chunk]
        out.append([[0 if n else x for (x, _), n in zip(chunk, named)], [w for _, w in chunk], [x if n else None for (x, _), n in zip(chunk, named)]])
    return out


def plain_chunks(named, text):
    """diffusers' maybe_convert_prompt, with a tokenizer that load_textual_inversion has added the embeddings to."""
    from diffusers.loaders import TextualInversionLoaderMixin

    first = {named.convert_tokens_to_ids(name if i == 0 else f"{name}_{i}"): [name, i] for name, n in EMBEDDINGS.items() for i in range(n)}
    text = TextualInversionLoaderMixin().maybe_convert_prompt(text, named)
    ids = named(text, padding="max_length", max_length=77, truncation=True)["input_ids"]
    return [[[0 if i in first else i for i in ids], [1.0] * 77, [first.get(i) for i in ids]]]


def write():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", help="a folder with the files of SOURCES, in place of fetching them")
    args = parser.parse_args()
    got = {name: version(name) for name in PINNED}
    if got != PINNED:
        sys.exit(f"pinned versions are {PINNED}, installed are {got}")
    with tempfile.TemporaryDirectory() as fetched:
        folder = args.sources or fetched
        if not args.sources:
            fetch(folder)
        save(OUT, make(folder))


def save(path, cases):
    meta = {"script": "tools/reference/prompts.py", "versions": PINNED, "sources": {k: f"{r}@{c}:{p}" for k, (r, c, p) in SOURCES.items()}, "seed": SEED, "embeddings": EMBEDDINGS}
    data = json.dumps({"meta": meta, **cases}, ensure_ascii=False, separators=(",", ":")).encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(gzip.compress(data, 9, mtime=0))
    print(f"{path}: {({k: len(v) for k, v in cases.items()})}, {os.path.getsize(path)} bytes")


def make(folder):
    import lark

    rng = random.Random(SEED)
    upstream = load(folder, "prompt_parser.py")
    networks = load(folder, "extra_networks.py", ["re_extra_net", "parse_prompt", "ExtraNetworkParams"], re=re, defaultdict=__import__("collections").defaultdict)
    parsing = load(folder, "parsing.py")
    database = load(folder, "textual_inversion.py", ["Embedding", "EmbeddingDatabase"])
    engine = load(folder, "classic_engine.py", ["PromptChunkFix", "PromptChunk", "ClassicTextProcessingEngine"], torch=torch, parsing=parsing,
                  namedtuple=__import__("collections").namedtuple)
    comfy = load(folder, "sd1_clip.py", ["parse_parentheses", "token_weights", "escape_important", "unescape_important", "SDTokenizer"], re=re, logging=__import__("logging"))
    comfy.logging.disable(comfy.logging.WARNING)

    texts = ["", " ", "a", "a [b:c:0.5] [d|e|]"] + [random_text(rng) for _ in range(500)] + [nested(rng) for _ in range(500)]
    schedules, attention, multi, nets = [], [], [], []
    for text in texts:
        steps = rng.choice([1, 4, 7])
        try:
            schedules.append({"text": text, "steps": steps, "want": upstream.get_learned_conditioning_prompt_schedules([text], steps)[0]})
        except (lark.exceptions.LarkError, OverflowError, RuntimeError):
            pass
        try:
            attention.append({"text": text, "want": upstream.parse_prompt_attention(text)})
        except ValueError:  # a weight such as 1.2.3
            pass
        indexes, flat, _ = upstream.get_multicond_prompt_list([text])
        multi.append({"text": text, "want": [[flat[i], w] for i, w in indexes[0]]})
        rest, found = networks.parse_prompt(text)
        nets.append({"text": text, "rest": rest, "want": sorted([k, p.items] for k, v in found.items() for p in v)})
    comfy_weights = [{"text": t, "want": [[comfy.unescape_important(x), w] for x, w in comfy.token_weights(comfy.escape_important(t), 1.0)]} for t in texts]

    chunked = [""] + [random_text(rng) for _ in range(60)] + [long_text(rng) for _ in range(60)]
    chunks = []
    for pad in ("<|endoftext|>", "!"):
        tok, named = clip_tokenizer(pad), clip_tokenizer(pad)
        for name, n in EMBEDDINGS.items():
            named.add_tokens([name if i == 0 else f"{name}_{i}" for i in range(n)])
        for text in chunked:
            for style, call in (("plain", lambda: plain_chunks(named, text)), ("a1111", lambda: a1111_chunks(engine, database, tok, text)), ("comfy", lambda: comfy_chunks(comfy, tok, tok.pad_token_id, text))):
                try:
                    want = call()
                except (ValueError, IndexError):
                    continue
                if want is not None:
                    chunks.append({"style": style, "pad": pad, "text": text, "want": [squeeze(c, tok) for c in want]})
    return {"doctests": doctests(upstream), "schedules": schedules, "attention": attention, "multicond": multi, "networks": nets, "comfy_weights": comfy_weights, "chunks": chunks}


def squeeze(chunk, tok):
    """A chunk without the padding at its end, which the test adds."""
    ids, weights, names = chunk
    n = len(ids)
    while n > 1 and ids[n - 1] == tok.pad_token_id and weights[n - 1] == 1.0 and names[n - 1] is None:
        n -= 1
    return [ids[:n], weights[:n], [[i, *x] for i, x in enumerate(names[:n]) if x]]


if __name__ == "__main__":
    write()
