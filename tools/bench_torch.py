"""The same network and training step in PyTorch, with its fastest settings, for comparison.

Eager and channels last on a CPU, compiled on a GPU; frozen layers run without gradients. PyTorch is
in the extra [bench].
"""

import contextlib
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from mtl_jax.models.alexnet import CONVOLUTIONS, DROPOUT_LAYERS, FULLY_CONNECTED


def network(frozen: int) -> tuple[nn.Module, nn.Module]:
    """Return the first `frozen` convolutions, and the layers after them."""
    convolutions, channels = [], 3
    for layer in CONVOLUTIONS.values():
        parts = [
            nn.Conv2d(channels, layer.features, layer.size, layer.stride, layer.pad),
            nn.ReLU(inplace=True),
        ]
        channels = layer.features
        convolutions.append(nn.Sequential(*parts, *([nn.MaxPool2d(3, 2)] if layer.pool else [])))
    layers, width = [], 3 * 3 * 256
    for name, nodes in FULLY_CONNECTED.items():
        layers += [nn.Linear(width, nodes), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(0.5)] if name in DROPOUT_LAYERS else []
        width = nodes
    prefix = nn.Sequential(*convolutions[:frozen]).requires_grad_(False)
    trained = nn.Sequential(*convolutions[frozen:], nn.Flatten(), *layers, nn.Linear(width, 2))
    return prefix, trained


def step(
    frozen: int, gray: np.ndarray, label: np.ndarray, precision: str = "float32"
) -> Callable[[], None]:
    """Return a function that takes one training step on a batch on the device and waits for it."""
    prefix, trained, image, device = _prepare(frozen, gray, precision)
    target = torch.tensor(label, device=device).long()
    optimizer = torch.optim.SGD(trained.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(device, precision):
            with torch.no_grad():
                maps = prefix(image)
            loss = nn.functional.cross_entropy(trained(maps).float(), target)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def scoring(gray: np.ndarray, precision: str = "float32") -> Callable[[], None]:
    """Return a function that makes one forward pass without gradients and waits for it."""
    prefix, trained, image, device = _prepare(5, gray, precision)
    trained.eval()

    def run() -> None:
        with torch.no_grad(), _autocast(device, precision):
            trained(prefix(image)).float().sum().item()

    return run


def version() -> str:
    return torch.__version__


def _prepare(
    frozen: int, gray: np.ndarray, precision: str
) -> tuple[nn.Module, nn.Module, torch.Tensor, torch.device]:
    torch.set_num_threads(os.cpu_count() or 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True
    last = torch.channels_last
    modules = [part.to(device, memory_format=last) for part in network(frozen)]
    if device.type == "cuda":
        modules = [torch.compile(part) for part in modules]
    image = torch.tensor(np.repeat(gray, 3, -1)).permute(0, 3, 1, 2).to(device)
    return *modules, image.contiguous(memory_format=last), device


def _autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
