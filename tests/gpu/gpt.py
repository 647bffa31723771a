# SPDX-License-Identifier: Apache-2.0
"""Training steps of a model of GPT-2's size."""
import torch

from common import arguments, check, measure
from gpt_model import gpt

args = arguments()
model = gpt(args.short).to(args.device)
vocabulary = model.token.num_embeddings
tokens = torch.randint(0, vocabulary, (2, 32) if args.short else (4, 512), device=args.device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)


def step():
    optimizer.zero_grad(set_to_none=True)
    out = model(tokens[:, :-1])
    loss = torch.nn.functional.cross_entropy(out.reshape(-1, vocabulary), tokens[:, 1:].reshape(-1))
    loss.backward()
    optimizer.step()
    return loss.detach()


first = float(step())
last = measure(step, args)
check("first loss", first)
assert float(last) < first, "training doesn't lower the loss"
