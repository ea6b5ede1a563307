"""Writes kernels/cuda/HARDWARE.md from what was measured: the JSON of run.py, the log of the conformance tests, the summary of sanitize.sh, other records as they are. What is not given is said to be missing.

    python3 tools/benchmarks/hardware.py --benchmarks benchmarks.json --conformance "All cases, sources of today=conformance.log" --sanitizer summary.txt --out kernels/cuda/HARDWARE.md
"""

import argparse
import json
import re

import report

HEAD = """# On hardware

Written by `tools/benchmarks/hardware.py`: every figure is copied from the record of a run on a card. How to measure again:

    make benchmarks # goxl beside PyTorch and diffusers in one run: build/benchmarks.json
    make test-gpu   # driver, conformance, models
    make sanitize   # compute-sanitizer over the small and odd cases

How to read it. Everything is fp16 on random data, two samples at a time where guidance makes pairs. goxl's kernels are timed one among many in a graph, between temporaries, 20 ms of them; "library" is the product,
convolution or attention with its bias alone, in the fastest of PyTorch's libraries, also in a graph; "whole" is all that goxl's kernel does (residual, activation), as eager PyTorch computes it. A ratio is PyTorch's time over
goxl's: above 1 goxl is faster. goxl's step is the model with guidance and the solver, ten right behind one another as in an image, latents read back after them; PyTorch's is the UNet alone, likewise. goxl's decoding ends with the image in the
host's memory, PyTorch's on the card.
"""


def conformance(text):
    """The card, a line for each run of the table (a case that fails has no share of what is allowed), and the other tests of the log by name."""
    run, rows, failed, card = None, [], {}, None
    tests = {"PASS": [], "FAIL": [], "SKIP": []}

    def key(variant, operands):
        return " ".join(variant.rsplit("_", 1)), operands.replace("_", " ")

    for line in text.splitlines():
        if m := re.match(r"=== (?:RUN|NAME|CONT)\s+TestConformance/([^/]+)/([^/\s]+)", line):
            run = key(m[1], m[2])
        elif m := re.match(r"\s*--- FAIL: TestConformance/([^/]+)/([^/]+)/.*/", line):
            failed[key(m[1], m[2])] = failed.get(key(m[1], m[2]), 0) + 1
        elif m := re.match(r"--- (PASS|FAIL|SKIP): (\w+) ", line):
            tests[m[1]].append(m[2])
        elif m := re.search(r"(\d+) cases, at most (.*) of the budget", line):
            rows.append([run, m[1], m[2]])
        elif m := re.search(r"cuda:\d+: (.*, compute capability .*)", line):
            card = m[1]
    parts = [card or "The log names no card."]
    if any(tests.values()):
        parts.append("Tests " + "; ".join(f"{word.lower()}: {', '.join(names)}" for word, names in tests.items() if names) + ".")
    if rows:
        parts.append(report.table(["kernels and precision", "operands", "cases", "failed", "largest error of the others, share of what is allowed"],
                                  [[*run, cases, failed.get(run, 0), share] for run, cases, share in rows]))
    return "\n\n".join(parts)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--benchmarks", nargs="*", default=[], help="files of run.py, a section each")
    p.add_argument("--conformance", action="append", default=[], metavar="TEXT=FILE", help="output of the tests of kernels/cuda with -test.v, and when and of what it is; may be repeated")
    p.add_argument("--note", action="append", default=[], help="what has not run on a card, or not since a change; may be repeated")
    p.add_argument("--sanitizer", help="output of sanitize.sh")
    p.add_argument("--log", action="append", default=[], metavar="TITLE=FILE", help="a record to keep as it is, for instance the output of TestSpeed; may be repeated")
    p.add_argument("--out", required=True, help="the file to write")
    a = p.parse_args()
    parts = [HEAD]
    if a.note:
        parts.append("## What is missing\n\n" + "".join(f"- {note}\n" for note in a.note))
    for path in a.benchmarks:
        with open(path) as f:
            result = json.load(f)
        parts.append(f"## Speed, {result['machine']['card']}\n\n{report.markdown(result)}\n")
    if not a.benchmarks:
        parts.append("## Speed\n\nNot measured yet.\n")
    for record in a.log:
        title, path = record.split("=", 1)
        with open(path) as f:
            parts.append(f"## {title}\n\n" + "".join(f"    {line}".rstrip() + "\n" for line in f))
    tables = []
    for record in a.conformance:
        text, path = record.rsplit("=", 1)
        with open(path) as f:
            tables.append(f"{text}\n\n{conformance(f.read())}")
    parts.append("## Conformance\n\n" + ("\n\n".join(tables) or "Not run yet.") + "\n")
    summary = ""
    if a.sanitizer:
        with open(a.sanitizer) as f:
            # The summary is a block of lines that begins with the version and ends before anything else that the log has.
            lines = [l.rstrip() for l in f if re.match(r"(compute-sanitizer |tool |memcheck |initcheck |synccheck |racecheck )", l)]
            summary = "\n".join("    " + re.sub(r", logs in .*", "", l) for l in lines)
    parts.append("## compute-sanitizer\n\n" + (summary or "Not run yet.") + "\n")
    with open(a.out, "w") as f:
        f.write("\n".join(parts))


if __name__ == "__main__":
    main()
