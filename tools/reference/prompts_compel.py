#!/usr/bin/env python3
"""Writes tokenizer/prompt/testdata/compel.json.gz: what compel's parser makes of prompts.

    venv/bin/python tools/reference/prompts_compel.py

Run from the repository root. Ten minutes at most: compel's library reads brackets anew at every level.
"""

import random
import signal

import pyparsing
from compel.prompt_parser import Blend, CrossAttentionControlSubstitute, PromptParser

from prompts import SEED, WORDS, random_text, save

OUT = "tokenizer/prompt/testdata/compel.json.gz"
PARSER = PromptParser()
# Pieces of texts.
COMPEL = ["(", ")", '"', ",", ", ", ".", " ", " ", " ", "++", "-", "+", "---", "1.3", "0.5", "2", "-1", ".5", ")1.2", ")+", ").and(1, 0.5)", ").blend(1,1)", ").blend(0.7, -0.3, no_normalize)", '("', '", "', '")', ").and()", '\\"', "\\(", "\\)", ".swap(x)", ".attend(1.5)", ".attend(+", "withLora(a, 0.5)", "useLora(b)", "=", "\n", "\\"]


def compel_nested(rng, depth=0):
    """A text of compel's that is mostly well formed."""
    parts = []
    for _ in range(rng.randint(1, 4)):
        inner = compel_nested(rng, depth + 1) if depth < 1 else "x"
        parts.append(rng.choice([rng.choice(WORDS), f"({inner})", f"({inner}){rng.choice(['+', '--', '1.3', '0.4', '2'])}", f'"{inner}"' if '"' not in inner else inner,
                                 rng.choice(WORDS) + rng.choice(["+", "--", ".", ","]), f"{rng.choice(['fire', '(a b)'])}.swap({inner})", f"(a b).attend({rng.choice(['++', '0.5', '-'])})", rng.choice(COMPEL)]))
    return rng.choice([" ", ""]).join(parts)


def compel_case(text):
    """What compel's parser makes of a text, None where it fails."""
    def fragments(prompt):
        out = []
        for c in prompt.children:
            out += [[f.text, f.weight] for f in (c.original if isinstance(c, CrossAttentionControlSubstitute) else [c])]
        return out

    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        c = PARSER.parse_conjunction(text)
        parts = []
        for p, w in zip(c.prompts, c.weights, strict=True):
            if isinstance(p, Blend):
                total = sum(p.weights) if p.normalize_weights else 1.0
                parts.append({"weight": w, "prompts": [fragments(x) for x in p.prompts], "blend": [v / total for v in p.weights]})
                if len(p.prompts) != len(p.weights):
                    return None
            else:
                parts.append({"weight": w, "prompts": [fragments(p)]})
    except (pyparsing.ParseException, PromptParser.ParsingException, ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, RecursionError, TimeoutError):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if not parts:
        return None
    return {"text": text, "parts": parts, "loras": [[x.model, x.weight] for x in c.lora_weights]}


def compel_cases():
    """What compel's parser makes of texts. Its library reads brackets anew at every level, so that what takes long is left out."""
    rng = random.Random(SEED)
    texts = ["", "fire", '("a+ b", "c").and(1, 0.5)', '("a", "b (c)2.0").blend(0.7, 0.3)', "a (b)0.5. c", "(a (ba)dly (f)ormed +test prompt"]
    texts += [random_text(rng, WORDS, COMPEL, 8) for _ in range(300)] + [compel_nested(rng) for _ in range(200)]
    texts += [f'("{random_text(rng, WORDS, ["+", " ", " ", "(", ")1.2", ")"], 6)}", "b c-"){rng.choice([".and", ".blend"])}({rng.choice(["1, 2", "", "0.5,0.5", "1,1,no_normalize", "1"])})' for _ in range(100)]
    return [c for c in (compel_case(t) for t in texts) if c]


if __name__ == "__main__":
    save(OUT, {"compel": compel_cases()})
