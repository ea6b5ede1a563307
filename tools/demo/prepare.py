"""Trains the tokenizer on captions: python prepare.py ATLAS.npz OUT_FOLDER. Then OUT_FOLDER/tokenizer.json is byte-level BPE as CLIP's, with few merges.

Any text can be encoded: the 256 byte symbols, with and without the end-of-word mark, are always there.
"""
import argparse
import json
import os

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

import scenes
from models import TOKENS

MERGES = 1900
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
# Words that people write and captions here do not: they get tokens too, so that they cost few positions.
EXTRA = ("the of in on at by for from to as is are very high quality beautiful best detailed colorful colourful style art illustration cartoon photo painting "
         "person man woman girl boy people city street mountain forest river lake sky space sitting standing running riding flying eating wearing holding blurry bad ugly "
         "low worst deformed noise noisy dark light bright simple background foreground left right top bottom center middle corner front behind").split()


def train(texts):
    tok = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(SPLIT), "removed", invert=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=2 * len(symbols) + MERGES, initial_alphabet=symbols, end_of_word_suffix="</w>", show_progress=False))
    merges = [tuple(m) for m in json.loads(tok.to_str())["model"]["merges"]][:MERGES]
    words = symbols + [s + "</w>" for s in symbols] + ["".join(m) for m in merges]
    vocab = {}
    for w in words + [BOS, EOS]:
        vocab.setdefault(w, len(vocab))
    return CLIPTokenizer(vocab=vocab, merges=merges, bos_token=BOS, eos_token=EOS, unk_token=EOS, pad_token=EOS, model_max_length=TOKENS)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("atlas")
    p.add_argument("out")
    p.add_argument("--captions", type=int, default=60000)
    a = p.parse_args()
    _, objects = scenes.load_objects(a.atlas)
    texts = [s["text"] for s in scenes.make_many(a.captions, objects, 1, seed=2)]
    texts += [w for o in objects for w in [o["name"], *o["words"], *o["keys"]] for _ in range(20)] + EXTRA * 40
    tok = train(texts)
    tok.save_pretrained(a.out)
    lengths = [len(tok(t)["input_ids"]) for t in texts[:2000]]
    print(f"{len(tok)} tokens; a caption has {sum(lengths) / len(lengths):.1f} ids, {max(lengths)} at most of {TOKENS}; files {os.listdir(a.out)}")


if __name__ == "__main__":
    main()
