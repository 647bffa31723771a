# SPDX-License-Identifier: Apache-2.0
"""A DataLoader with pinned memory feeds a small network, copies beside computation."""
import torch
from torch.utils.data import DataLoader, TensorDataset

from common import arguments, check, measure

args = arguments()
count, width = (64, 256) if args.short else (4096, 4096)
data = TensorDataset(torch.randn(count, width), torch.randint(0, 10, (count,)))
loader = DataLoader(data, batch_size=count // 8, pin_memory=args.device == "cuda",
                    num_workers=0 if args.short else 2, persistent_workers=not args.short)
model = torch.nn.Linear(width, 10).to(args.device)


def step():
    total = torch.zeros((), device=args.device)
    for x, y in loader:
        x = x.to(args.device, non_blocking=True)
        y = y.to(args.device, non_blocking=True)
        total += torch.nn.functional.cross_entropy(model(x), y).detach()
    return total


check("loss", measure(step, args, 5))
if args.device == "cuda":
    x = torch.randn(1 << 20).pin_memory()
    assert x.is_pinned() and torch.equal(x.to("cuda", non_blocking=True).cpu(), x)
