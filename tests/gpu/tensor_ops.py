# SPDX-License-Identifier: Apache-2.0
"""Tensor operations: elementwise, reductions, sorting, indexing, matrix products, copies."""
import torch

from common import arguments, check, measure

args = arguments()
n = 256 if args.short else 2048
a = torch.randn(n, n, device=args.device)
b = torch.randn(n, n, device=args.device)


def step():
    c = torch.relu(a @ b) + torch.sin(a) * b.t()
    top = c.flatten().topk(100).values
    order = c.sum(dim=1).sort().values
    picked = c[torch.arange(0, n, 3, device=args.device)]
    half = c.to(torch.float16).to(torch.float32)
    there_and_back = half.cpu().to(args.device)
    return top.mean() + order.std() + picked.mean() + there_and_back.mean()


check("sum", measure(step, args))
assert torch.equal(a.cpu().to(args.device), a)
assert torch.allclose((a @ torch.eye(n, device=args.device)), a, atol=1e-2)
