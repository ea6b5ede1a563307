"""Writes the 400 prompts of the evaluation: python quality/prompts.py --data DATA --out quality/prompts.json. All are captions that training holds out."""
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


# Names that are no nouns: "a locked" is a caption that nobody writes. A prompt with one is drawn again at its place, kind and seed, so that the others stay as they are.
NO_NOUN = {"locked", "star-struck", "rolling on the floor laughing"}
COUNTS = dict(single=160, landscape=30, bare=10, beside=70, above=70, two=30, three=30)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    a = p.parse_args()
    _, objects = scenes.load_objects(os.path.join(a.data, "atlas.npz"))
    rng, again, out, seen = random.Random(400), random.Random(401), [], set()

    def fit(c):
        """The plural of something that has none says nothing about how many there are."""
        counted = c["kind"] in ("two", "three") and objects[c["objects"][0]]["name"] in cap.PLURAL | cap.MASS
        return not counted and cap.held_out(c["text"]) and c["text"] not in seen

    for kind, count in COUNTS.items():
        for _ in range(count):
            while not fit(c := dict(kind=kind, seed=len(out) + 1, **drawn(rng, objects, kind))):
                pass
            seen.add(c["text"])
            out.append(c)
    for c in out:
        while any(objects[i]["name"] in NO_NOUN for i in c["objects"]):
            new = {**c, **drawn(again, objects, c["kind"])}
            if fit(new):
                seen.add(new["text"])
                c.update(new)
    with open(a.out, "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in out) + "\n]\n")
    print(len(out), "prompts")


if __name__ == "__main__":
    main()
