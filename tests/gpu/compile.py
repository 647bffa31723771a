# SPDX-License-Identifier: Apache-2.0
"""torch.compile: Triton's kernels, loaded by the driver."""
import sys

import torch

from common import arguments, check, measure

args = arguments()
if not hasattr(torch, "compile"):
    print("skipped: this PyTorch has no torch.compile")
    sys.exit(77)
width = 128 if args.short else 2048


def plain(x, w):
    return torch.nn.functional.gelu(x @ w).softmax(-1) * x.sin()


x = torch.randn(width, width, device=args.device)
w = torch.randn(width, width, device=args.device)
compiled = torch.compile(plain)
got = measure(lambda: compiled(x, w), args)
assert torch.allclose(got, plain(x, w), atol=1e-3), "compiled and plain differ"
check("mean", got.abs().mean())
