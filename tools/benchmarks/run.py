"""Measures PyTorch, diffusers and goxl on the same card in one run, prints a table with ratios, and writes everything as JSON.

    go build -o goxl ./cmd/goxl
    python3 tools/benchmarks/run.py --goxl ./goxl --json benchmarks.json

What matters most first, in about a minute; a part that does not come to its end leaves those before it in the file:

    timeout 60 python3 tools/benchmarks/run.py --goxl ./goxl --json benchmarks.json --parts goxl,kernels,eager --sides 1024 --runs 30 --goxl-runs 150 --goxl-benches step,kernels --filter level

Needs an NVIDIA card, torch and, for all parts but kernels, diffusers. Nothing is downloaded: weights are random, of the published configuration, in fp16 and channels last. Parts can be chosen, because
torch.compile alone takes minutes; with --merge a run adds its parts to those of an earlier one on the same card.
"""

import argparse
import datetime
import importlib.metadata
import json
import re
import signal
import subprocess
import sys
import time

import report

PARTS = ("limits", "kernels", "eager", "compile", "vae", "goxl")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--goxl", help="the goxl command; part goxl needs it")
    p.add_argument("--parts", default=",".join(PARTS), help="what to run, in this order, of %(default)s: limits of the card; kernels one by one; the UNet's step eager, also in a CUDA graph; "
                   "the step in torch.compile (reduce-overhead); the VAE's decoding, compiled too if compile is among the parts; goxl")
    p.add_argument("--sides", default="1024,512", help="sides of the images in pixels")
    p.add_argument("--filter", default="", help="regular expression over the kernels' names")
    p.add_argument("--runs", type=int, default=100, help="steps that PyTorch is timed for")
    p.add_argument("--goxl-runs", type=int, default=1000, help="steps that goxl is timed for")
    p.add_argument("--goxl-benches", default="kernels,step,image,sm_80", help="what of goxl, in this order: bench kernels, step and image, and the step with the kernels for every card")
    p.add_argument("--model", default="synth:base", help="goxl's model; a folder that goxl synth has written tells how long loading takes")
    p.add_argument("--goxl-args", default="-device cuda", help="flags for every goxl bench")
    p.add_argument("--images", type=int, default=4, help="images that goxl draws, the first of which is not counted")
    p.add_argument("--json", help="file to write the figures to")
    p.add_argument("--merge", help="file of an earlier run whose other parts are kept")
    a = p.parse_args()
    a.parts = a.parts.split(",")
    a.sides = [int(s) for s in a.sides.split(",")]
    if unknown := set(a.parts) - set(PARTS):
        p.error(f"--parts {','.join(sorted(unknown))}: must be of {','.join(PARTS)}")
    if "goxl" in a.parts and not a.goxl:
        p.error("--goxl is missing: part goxl needs the command")
    return a


def machine():
    import torch

    smi = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip().splitlines()
    versions = {}
    for package in ("torch", "diffusers", "triton"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "card": torch.cuda.get_device_name(), "driver": smi[0].split(", ")[-1] if smi else None, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), **versions,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "command": " ".join(["python3", *sys.argv]),
    }


def goxl(a, found, say, save):
    """Adds to found what goxl bench prints as JSON, by bench; the text of a failure under "failed"."""
    found.pop("failed", None)

    def bench(key, *args):
        command = [a.goxl, "bench", *args, *a.goxl_args.split(), "-json"]
        start = time.time()
        done = subprocess.run(command, capture_output=True, text=True)
        say(f"goxl {key}", f"{time.time() - start:.1f} s")
        if done.returncode:
            found.setdefault("failed", {})[key] = done.stderr.strip()[-2000:]
            say(f"goxl {key} FAILED", done.stderr.strip()[-500:])
        else:
            found[key] = json.loads(done.stdout)
        save()

    def step(key, side, *more):
        bench(key, "step", "-model", a.model, "-width", str(side), "-height", str(side), "-runs", str(a.goxl_runs), *more)

    for part in a.goxl_benches.split(","):
        if part == "kernels":
            names = "|".join(re.escape(name) for name in case_names(a.filter))
            bench("kernels", "kernels", "-run", f"^({names})$")
        if part == "step":
            for side in a.sides:
                step(f"step {side}", side)
        if part == "image":
            bench("image", "image", "-model", a.model, "-width", str(a.sides[0]), "-height", str(a.sides[0]), "-runs", str(a.images))
        if part == "sm_80":
            step("step sm_80", a.sides[0], "-kernels", "sm_80")


def case_names(filter):
    from shapes import CASES

    return [name for name in CASES if re.search(filter, name)]


def main():
    a = arguments()
    started = time.time()

    def say(what, figure):
        if isinstance(figure, dict):
            figure = report.brief(figure)
        print(f"{time.time() - started:6.1f} s  {what}: {figure}", file=sys.stderr, flush=True)

    result = {}
    if a.merge:
        with open(a.merge) as f:
            result = json.load(f)
    here = machine()
    if result.get("machine", here)["card"] != here["card"]:
        sys.exit(f"--merge {a.merge}: made on {result['machine']['card']}, this is {here['card']}")
    commands = result.get("machine", {}).get("commands", [])
    result["machine"] = {**here, "commands": commands + [here.pop("command")]}

    def save():
        if a.json:
            with open(a.json, "w") as f:
                json.dump(result, f, indent=1)

    def ended(*_):
        sys.exit("ended by a signal: what was measured until then follows")

    signal.signal(signal.SIGTERM, ended)
    try:
        for part in a.parts:
            measure(a, part, result, say, save)
            save()
    finally:
        save()
        print(report.markdown(result), flush=True)
    if result.get("goxl", {}).get("failed"):
        sys.exit(1)


def measure(a, part, result, say, save):
    """Adds the figures of one part to the result."""
    found = result.setdefault("pytorch", {})
    if part == "goxl":
        goxl(a, result.setdefault("goxl", {}), say, save)
        return
    import pytorch

    pytorch.torch.manual_seed(0)
    if part == "limits":
        found["limits"] = pytorch.limits()
        say("limits", found["limits"])
    if part == "kernels":
        pytorch.kernels(re.compile(a.filter), found.setdefault("kernels", {}), say)
    if part in ("eager", "compile"):
        pytorch.step(a.sides, part == "eager", part == "compile", a.runs, found.setdefault("step", {}), say)
    if part == "vae":
        pytorch.vae(a.sides, True, "compile" in a.parts, found.setdefault("vae", {}), say)
    pytorch.torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
