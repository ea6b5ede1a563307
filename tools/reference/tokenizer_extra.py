#!/usr/bin/env python3
"""Writes tokenizer/testdata/extra_tokens.json: what transformers makes of special tokens beside the named ones.

    python tools/reference/tokenizer_extra.py

Run from the repository root, after tokenizer.py. A case is a folder of testdata/folders.zip, keys that are set in its files, and the ids of "texts" without the
markers, with the number of ids of the tokenizer; "raises" where transformers refuses the folder.
"""

import json
import os
import tempfile
import zipfile

import transformers

from tokenizer import TESTDATA, versions

CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
TEXTS = ["the cat in the ring", "THE In in</w> x", "a <new> cat <|endoftext|> in<new>in", "main <NEW> <newer> thing !", "in  <new>  the"]
IN, NEW = "in</w>", "<new>"


def flagged(content, **flags):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


CASES = [(folder, changes) for folder in ("legacy", "small", "inversion") for changes in (
    {CONFIG: {"extra_special_tokens": {}}},
    {CONFIG: {"extra_special_tokens": {"x_token": "<|endoftext|>"}}},
    {CONFIG: {"extra_special_tokens": {"x_token": IN}}},
    {CONFIG: {"extra_special_tokens": {"x": IN, "another": "the"}}},
    {CONFIG: {"extra_special_tokens": {"x_token": NEW}}},
    {CONFIG: {"extra_special_tokens": {"b_token": "<newer>", "a_token": NEW}}},
    {CONFIG: {"extra_special_tokens": {"x_token": flagged(NEW, lstrip=True, rstrip=True)}}},
    {CONFIG: {"extra_special_tokens": {"x_token": flagged(IN, normalized=True)}}},
    {CONFIG: {"extra_special_tokens": {"x_token": {"content": IN}}}},
    {CONFIG: {"extra_special_tokens": {"x_token": IN, "y_token": None}}},
    {CONFIG: {"extra_special_tokens": {"x_token": 7}}},
    {CONFIG: {"extra_special_tokens": {"sep_token": IN}}},
    {CONFIG: {"extra_special_tokens": {"pad_token": "the"}}},
    {CONFIG: {"extra_special_tokens": [IN, NEW]}},
    {CONFIG: {"extra_special_tokens": None}},
    {CONFIG: {"extra_special_tokens": {"x_token": NEW}, "additional_special_tokens": ["<newer>", IN]}},
    {CONFIG: {"extra_special_tokens": {}, "additional_special_tokens": ["<newer>"]}},
    {CONFIG: {"extra_special_tokens": [NEW], "additional_special_tokens": ["<newer>"]}},
    {CONFIG: {"x_token": NEW}},
    {CONFIG: {"x_token": IN, "y_token": False, "z_tokens": "the", "add_bos_token": True}},
    {CONFIG: {"x_token": flagged(IN)}},
    {CONFIG: {"image_token": "<newer>", "extra_special_tokens": {"audio_token": NEW}}},
    {CONFIG: {"extra_special_tokens": {"sep_token": NEW}}},
)] + [("legacy", changes) for changes in (
    {MAP: {"extra_special_tokens": {}}},
    {MAP: {"extra_special_tokens": {"x_token": IN}}},
    {MAP: {"extra_special_tokens": {"x_token": NEW}}, CONFIG: {"extra_special_tokens": {"y_token": "<newer>"}}},
    {MAP: {"extra_special_tokens": {"x_token": NEW}}, CONFIG: {"extra_special_tokens": ["<newer>"]}},
    {MAP: {"extra_special_tokens": ["<newer>"]}, CONFIG: {"extra_special_tokens": {"x_token": NEW}}},
    {MAP: {"additional_special_tokens": ["<newer>"]}, CONFIG: {"extra_special_tokens": {"x_token": NEW}}},
    {MAP: {"x_token": NEW}},
    {MAP: {"x_token": {k: v for k, v in flagged(NEW, lstrip=True).items() if k != "__type"}}},
    {CONFIG: {"extra_special_tokens": {"x_token": NEW}}, ADDED: {NEW: 2002}},
    {CONFIG: {"extra_special_tokens": [NEW]}, ADDED: {NEW: 2002}},
    {CONFIG: {"x_token": NEW}, ADDED: {"<newer>": 2002}},
)]


def run(root, number, folder, changes):
    path = os.path.join(root, str(number))
    with zipfile.ZipFile(os.path.join(TESTDATA, "folders.zip")) as archive:
        for name in archive.namelist():
            if name.startswith(folder + "/"):
                archive.extract(name, path)
    path = os.path.join(path, folder)
    for file, keys in changes.items():
        full, content = os.path.join(path, file), {}
        if os.path.exists(full):
            with open(full, encoding="utf-8") as f:
                content = json.load(f)
        content.update(keys)
        with open(full, "w", encoding="utf-8") as f:
            json.dump(content, f)
    case = {"folder": folder, "changes": changes}
    try:
        tok = transformers.CLIPTokenizer.from_pretrained(path)
    except Exception as error:  # whatever it is, the reference does not load the folder
        return {**case, "raises": f"{type(error).__name__}: {error}"[:100]}
    return {**case, "pad": tok.pad_token_id, "size": len(tok), "ids": [tok(t, add_special_tokens=False).input_ids for t in TEXTS]}


def main():
    made_with = versions()
    with tempfile.TemporaryDirectory() as root:
        cases = [run(root, i, *c) for i, c in enumerate(CASES)]
    for case in cases:
        print(case["folder"], case["changes"], case.get("raises") or (case["pad"], case["size"], case["ids"][2]))
    lines = ",\n".join(json.dumps(c) for c in cases)
    with open(os.path.join(TESTDATA, "extra_tokens.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps({"maker": "tools/reference/tokenizer_extra.py", **made_with, "texts": TEXTS})[:-1] + f', "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
