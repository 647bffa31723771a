# SPDX-License-Identifier: Apache-2.0
"""Training steps of a network built like ResNet-50, on random images."""
import torch
from torch import nn

from common import arguments, check, measure

args = arguments()


class Bottleneck(nn.Module):
    def __init__(self, inside, middle, stride):
        super().__init__()
        outside = 4 * middle
        self.body = nn.Sequential(
            nn.Conv2d(inside, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(True),
            nn.Conv2d(middle, middle, 3, stride, 1, bias=False), nn.BatchNorm2d(middle),
            nn.ReLU(True), nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.beside = nn.Identity()
        if stride != 1 or inside != outside:
            self.beside = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False),
                                        nn.BatchNorm2d(outside))

    def forward(self, x):
        return torch.relu(self.body(x) + self.beside(x))


def resnet(blocks, width):
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
              nn.MaxPool2d(3, 2, 1)]
    inside = width
    for i, count in enumerate(blocks):
        middle = width << i
        for k in range(count):
            layers.append(Bottleneck(inside, middle, 2 if i > 0 and k == 0 else 1))
            inside = 4 * middle
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inside, 1000))


model = resnet([1, 1, 1, 1] if args.short else [3, 4, 6, 3], 16 if args.short else 64)
model.to(args.device)
batch, size = (2, 64) if args.short else (32, 224)
images = torch.randn(batch, 3, size, size, device=args.device)
labels = torch.randint(0, 1000, (batch,), device=args.device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)


def step():
    optimizer.zero_grad(set_to_none=True)
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


first = float(step())
last = measure(step, args)
check("first loss", first)
assert float(last) < first, "training doesn't lower the loss"
