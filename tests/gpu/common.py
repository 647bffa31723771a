# SPDX-License-Identifier: Apache-2.0
"""What the PyTorch programs share. Each prints "check: ..." with what it computed, coarsely,
and "seconds: ..." for one step, the median after a few that don't count."""
import argparse
import statistics
import time

import torch


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="small sizes, few steps")
    parser.add_argument("--device", default="cuda", help="cpu: to try the program itself")
    args = parser.parse_args()
    torch.manual_seed(1)
    return args


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(step, args, steps=20):
    """Runs STEP; the last result."""
    result = None
    for _ in range(1 if args.short else 5):
        result = step()
    times = []
    for _ in range(3 if args.short else steps):
        synchronize(args.device)
        start = time.perf_counter()
        result = step()
        synchronize(args.device)
        times.append(time.perf_counter() - start)
    print(f"seconds: {statistics.median(times):.6f}")
    return result


def check(what, value):
    """Printed so coarsely that two runs on one GPU agree."""
    print(f"check: {what} {float(value):.2g}")
