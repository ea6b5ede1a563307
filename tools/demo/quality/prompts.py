"""Writes the 400 prompts of the gate: python quality/prompts.py --data DATA --out quality/prompts.json. All are captions that training holds out."""
import argparse
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import captions as cap
import scenes


def drawn(rng, objects, kind):
    plain = rng.choice(list(cap.PLAIN))
    graded = rng.choice(list(cap.GRADED))
    on = f" on {'an' if plain[0] in 'aeiou' else 'a'} {plain} background"
    a, b = rng.sample(range(len(objects)), 2)
    one = lambda i: cap.article(objects[i]["name"])
    if kind == "single":
        return dict(text=one(a) + on, objects=[a], background=plain)
    if kind == "landscape":
        return dict(text=one(a) + " " + cap.GRADED[graded][5][0], objects=[a], background=graded)
    if kind == "bare":
        return dict(text=one(a), objects=[a], background="white")
    if kind == "beside":
        return dict(text=f"{one(a)} to the left of {one(b)}" + on, objects=[a, b], background=plain)
    if kind == "above":
        return dict(text=f"{one(a)} above {one(b)}" + on, objects=[a, b], background=plain)
    n = 2 if kind == "two" else 3
    return dict(text=f"{kind} {cap.plural(objects[a]['name'])}" + on, objects=[a] * n, background=plain)


COUNTS = dict(single=160, landscape=30, bare=10, beside=70, above=70, two=30, three=30)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    _, objects = scenes.load_world(os.path.join(a.data, "atlas.npz"))
    rng, out = random.Random(400), []
    for kind, count in COUNTS.items():
        seen = set()
        while len(seen) < count:
            c = drawn(rng, objects, kind)
            # The plural of something that has none says nothing about how many there are.
            if kind in ("two", "three") and objects[c["objects"][0]]["name"] in cap.PLURAL | cap.MASS:
                continue
            if cap.held_out(c["text"]) and c["text"] not in seen:
                seen.add(c["text"])
                out.append(dict(kind=kind, seed=len(out) + 1, **c))
    with open(a.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in out) + "\n]\n")
    print(len(out), "prompts")


if __name__ == "__main__":
    main()
