#!/usr/bin/env python3
"""Images a second of goxl's server, with several requests in flight.

    python3 tools/benchmarks/server.py --server build/server --model synth:base --device cuda --steps 20 --size 1024 --in-flight 2
    python3 tools/benchmarks/server.py --server build/server --device cuda --steps 20 --size 512 --in-flight 16 --batch 8

Starts the server on a free port with a folder of images of its own, waits until it is ready, sends requests that are
not timed, then the timed ones, and ends it. Prints images a second and the seconds of a request (median and longest);
--json writes them too. Needs Python alone.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request


def start(args, folder):
    command = [args.server, "-addr", "127.0.0.1:0", "-images", folder, "-model", args.model, "-device", args.device, "-batch", str(args.batch)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = []
    found = threading.Event()

    def read():
        for line in process.stderr:
            log.append(line)
            if "msg=listening" in line:
                found.set()
        found.set()

    threading.Thread(target=read, daemon=True).start()
    found.wait()
    address = re.search(r"address=(\S+)", "".join(log))
    if not address:
        sys.exit("the server does not listen:\n" + "".join(log))
    return process, address[1].strip('"'), log


def wait_ready(process, address, log):
    while True:
        if process.poll() is not None:
            sys.exit("the server ended:\n" + "".join(log))
        try:
            urllib.request.urlopen(address + "/readyz").read()
            return
        except urllib.error.HTTPError:
            time.sleep(0.2)


def generate(address, args, seed):
    body = {"prompt": "a lighthouse at dusk", "seed": seed, "width": args.size, "height": args.size, "num_inference_steps": args.steps}
    request = urllib.request.Request(address + "/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
    began = time.monotonic()
    json.load(urllib.request.urlopen(request))
    return time.monotonic() - began


def several(address, args, count):
    """Sends count requests, so many in flight, and returns the seconds of all and of each."""
    seconds, left, lock = [], list(range(count)), threading.Lock()

    def client():
        while True:
            with lock:
                if not left:
                    return
                seed = left.pop()
            spent = generate(address, args, seed)
            with lock:
                seconds.append(spent)

    clients = [threading.Thread(target=client) for _ in range(args.in_flight)]
    began = time.monotonic()
    for c in clients:
        c.start()
    for c in clients:
        c.join()
    return time.monotonic() - began, seconds


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--server", default="build/server")
    p.add_argument("--model", default="synth:base")
    p.add_argument("--device", default="auto")
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--size", type=int, default=1024)
    p.add_argument("--in-flight", type=int, default=2)
    p.add_argument("--images", type=int, default=40)
    p.add_argument("--batch", type=int, default=1, help="jobs that the server computes together")
    p.add_argument("--json")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        process, address, log = start(args, folder)
        try:
            wait_ready(process, address, log)
            several(address, args, max(2, args.in_flight))
            total, seconds = several(address, args, args.images)
        finally:
            process.terminate()
            process.wait()
    if len(seconds) != args.images:
        sys.exit(f"{args.images - len(seconds)} requests failed:\n" + "".join(log[-20:]))
    figures = {
        "steps": args.steps, "size": args.size, "in_flight": args.in_flight, "batch": args.batch, "images": args.images, "images_per_s": args.images / total,
        "median_s": statistics.median(seconds), "longest_s": max(seconds),
    }
    print(f"{figures['images_per_s']:.3f} images/s: {args.images} of {args.steps} steps at {args.size}x{args.size}, {args.in_flight} in flight, batches of {args.batch}, "
          f"a request {figures['median_s']:.3f} s, {figures['longest_s']:.3f} s at most")
    if args.json:
        with open(args.json, "w") as f:
            json.dump(figures, f, indent=1)


if __name__ == "__main__":
    main()
