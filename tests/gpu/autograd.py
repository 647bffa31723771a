# SPDX-License-Identifier: Apache-2.0
"""Gradients of a small network, against those of the CPU."""
import copy

import torch

from common import arguments, check, measure

args = arguments()
width = 128 if args.short else 1024
model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Tanh(),
                            torch.nn.Linear(width, 10))
x = torch.randn(64, width)
y = torch.randint(0, 10, (64,))


def gradients(net, device):
    net.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(x.to(device)), y.to(device))
    loss.backward()
    return loss.detach()


reference = copy.deepcopy(model)
expected = gradients(reference, "cpu")
model.to(args.device)
loss = measure(lambda: gradients(model, args.device), args)
check("loss", loss)
assert abs(float(loss) - float(expected)) < 1e-2
for p, q in zip(model.parameters(), reference.parameters()):
    assert torch.allclose(p.grad.cpu(), q.grad, atol=1e-2), "a gradient differs from the CPU's"
