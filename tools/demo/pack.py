"""Writes compact checkpoints into shards of 15 MiB: python pack.py --work WORK --out OUT vae_final base [--averaged]. --averaged leaves the raw weights out: enough to export,
not to train on. The train_*.py commands take such a folder as --resume; python pack.py --join --work WORK --out OUT only unpacks."""
import argparse
import os

from common import join, split


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--work", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--averaged", action="store_true")
    p.add_argument("--join", action="store_true")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    if a.join:
        os.makedirs(a.work, exist_ok=True)
        print(join(a.work, a.out))
    else:
        split(a.work, a.names, a.out, a.averaged)


if __name__ == "__main__":
    main()
