# SPDX-License-Identifier: Apache-2.0
"""A model of GPT-2's kind writes tokens, one after the other, each step a replayed CUDA graph."""
import torch

from common import arguments, check, measure
from gpt_model import gpt

args = arguments()
model = gpt(args.short).to(args.device).eval()
length = 16 if args.short else 128
prompt = torch.randint(0, model.token.num_embeddings, (1, length), device=args.device)
tokens = prompt.clone()


@torch.no_grad()
def write_one():
    """The window moves on by one token, in place: a graph has fixed addresses."""
    following = model(tokens)[:, -1].argmax(-1, keepdim=True)
    tokens.copy_(torch.cat([tokens[:, 1:], following], dim=1))


def plainly(n):
    tokens.copy_(prompt)
    for _ in range(n):
        write_one()
    return tokens.clone()


n = 4 if args.short else 64
expected = plainly(n)
if args.device == "cuda":
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        plainly(3)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        write_one()
    replay = graph.replay
else:
    replay = write_one


def step():
    tokens.copy_(prompt)
    for _ in range(n):
        replay()
    return tokens.clone()


written = measure(step, args)
assert torch.equal(written, expected), "the graph wrote something else"
check("tokens", written.sum())
