"""The same network and training step in PyTorch, with its fastest settings, for comparison.

Layers are channels last. A block of steps ends with one synchronization, and no step reads a value
back. PyTorch is in the extra [bench].
"""

import contextlib
import gc
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mtl_jax.models.alexnet import CONVOLUTIONS, DROPOUT_LAYERS, FULLY_CONNECTED
from mtl_jax.training import dataset, orientations

EAGER = "eager"
GRAPH = "CUDA graph"  # of eager kernels: forward, backward and update as one launch
REDUCE_OVERHEAD = "torch.compile, reduce-overhead"  # PyTorch's own CUDA graphs
COMPILED_GRAPH = "torch.compile, CUDA graph"
BLOCK = 256  # images in a block of activations and in a batch of scoring, as in ours


class Rois(NamedTuple):
    """ROIs on the device; a batch is gathered, oriented and standardized as in ours."""

    pixels: torch.Tensor  # (n, 128, 128) int16
    label: torch.Tensor
    table: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor


class Activations(NamedTuple):
    """Activations of the frozen layers for all ROIs in eight orientations, on the device."""

    values: torch.Tensor  # (8n, h, w, c), in the dtype of the computation
    label: torch.Tensor


class ReadyBatch(NamedTuple):
    """A batch that each step takes as it is, which saves PyTorch the work of making it."""

    image: torch.Tensor  # (n, c, 128, 128)
    label: torch.Tensor


Source = Rois | Activations | ReadyBatch


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def on_gpu() -> bool:
    return device().type == "cuda"


def rois(source: dataset.Dataset) -> Rois:
    """Return a copy of the ROIs for PyTorch."""
    rows = (column[: source.count] for column in (source.pixels, source.label, source.table))
    pixels, label, table, *statistics = (
        torch.tensor(np.asarray(column), device=device())
        for column in (*rows, source.mean, source.std)
    )
    return Rois(pixels, label.long(), table.long(), *statistics)


def ready_batch(gray: np.ndarray, label: np.ndarray) -> ReadyBatch:
    """Return gray images (n, 128, 128, 1) as three equal channels, with their labels."""
    image = torch.tensor(np.repeat(gray, 3, -1), device=device()).permute(0, 3, 1, 2)
    image = image.contiguous(memory_format=torch.channels_last)
    return ReadyBatch(image, torch.tensor(label, device=device()).long())


def network(frozen: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Return the first `frozen` convolutions, and the layers after them."""
    convolutions = []
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
    last = torch.channels_last
    return prefix.to(device(), memory_format=last), trained.to(device(), memory_format=last)


def training(
    frozen: int, source: Source, order: np.ndarray, precision: str, form: str
) -> Callable[[], None]:
    """Return a function that takes a training step for each row of `order` (steps, batch), and then
    waits.

    Frozen layers run without gradients, or not at all if the source is their activations.
    """
    _set_precision(precision)
    prefix, trained = network(frozen, _channels(source))
    optimizer = torch.optim.SGD(
        trained.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4, fused=on_gpu() or None
    )

    def forward(indices: torch.Tensor) -> torch.Tensor:
        image, label = _make_batch(source, indices)
        with _autocast(precision):
            if not isinstance(source, Activations):
                with torch.no_grad():
                    image = prefix(image)
            logits = trained(image)
        return nn.functional.cross_entropy(logits.float(), label)

    forward = _compile(forward, form, source)

    def step(indices: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        forward(indices).backward()
        optimizer.step()

    return _block(step, order, form)


def compute_activations(
    frozen: int, source: Rois, precision: str
) -> tuple[Callable[[], None], Activations]:
    """Return a function that computes the activations of all ROIs and waits, and the activations,
    of which it fills the values."""
    _set_precision(precision)
    prefix, _ = network(frozen, 1)
    images = torch.arange(orientations.COUNT * len(source.label), device=device())
    label = source.label.repeat_interleave(orientations.COUNT)

    def layers(indices: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), _autocast(precision):
            return prefix(_make_batch(source, indices)[0]).permute(0, 2, 3, 1)

    example = layers(images[:1])
    values = example.new_empty(len(images), *example.shape[1:])

    def compute() -> None:
        for begin in range(0, len(images), BLOCK):
            values[begin : begin + BLOCK] = layers(images[begin : begin + BLOCK])
        _synchronize()

    return compute, Activations(values, label)


def scoring(source: Rois | ReadyBatch, precision: str, form: str) -> Callable[[], None]:
    """Return a function that scores all ROIs in eight orientations, and waits."""
    _set_precision(precision)
    prefix, trained = (part.eval() for part in network(5, _channels(source)))
    count = len(source.label)
    count *= 1 if isinstance(source, ReadyBatch) else orientations.COUNT
    steps = -(-count // BLOCK)  # the last one repeats the last image
    order = np.minimum(np.arange(steps * BLOCK), count - 1).reshape(steps, BLOCK)
    scores = torch.zeros(BLOCK // orientations.COUNT, device=device())

    def score(indices: torch.Tensor) -> None:
        with torch.no_grad(), _autocast(precision):
            logits = trained(prefix(_make_batch(source, indices)[0]))
            probability = logits.float().softmax(-1)[:, 1]
            scores.copy_(probability.reshape(-1, orientations.COUNT).mean(1))

    return _block(score, order, form)


def reset_peak_memory() -> None:
    if on_gpu():
        gc.collect()  # programs of earlier measurements, which hold memory
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> float | None:
    """Return the most GB in use since `reset_peak_memory`; None on a CPU."""
    return torch.cuda.max_memory_allocated() / 1e9 if on_gpu() else None


def _make_batch(source: Source, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, channels last, and labels; as `dataset.make_batch`."""
    if isinstance(source, ReadyBatch):
        return source.image, source.label
    if isinstance(source, Activations):
        return source.values[indices].permute(0, 3, 1, 2), source.label[indices]
    roi, orientation = indices // orientations.COUNT, indices % orientations.COUNT
    gray = _orient(source.pixels[roi], orientation).float()
    table = source.table[roi]
    gray = (gray - source.mean[table, None, None]) / source.std[table, None, None]
    return gray[:, None], source.label[roi]


def _orient(images: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
    """Return each image in its orientation; as `orientations.orient`."""
    bit = [((orientation >> k) & 1).bool()[:, None, None] for k in range(3)]
    images = torch.where(bit[0], images.flip(1), images)
    images = torch.where(bit[1], images.flip(2), images)
    return torch.where(bit[2], images.transpose(1, 2), images)


def _channels(source: Source) -> int:
    """Return the channels of the images: ours has one too, for images of one gray channel."""
    return source.image.shape[1] if isinstance(source, ReadyBatch) else 1


def _compile(
    forward: Callable[[torch.Tensor], torch.Tensor], form: str, source: Source
) -> Callable[[torch.Tensor], torch.Tensor]:
    if form in (COMPILED_GRAPH, REDUCE_OVERHEAD):
        torch.compiler.reset()  # after some programs of one function it would compile no more
    if form == REDUCE_OVERHEAD:
        for tensor in source:  # otherwise each step copies all of it into the graph's input
            torch._dynamo.mark_static_address(tensor)
        return torch.compile(forward, mode="reduce-overhead")
    return torch.compile(forward) if form == COMPILED_GRAPH else forward


def _block(
    step: Callable[[torch.Tensor], None], order: np.ndarray, form: str
) -> Callable[[], None]:
    """Return a function that calls `step` with each row of `order`, and waits once."""
    rows = list(torch.tensor(order, device=device()).long())
    if form in (GRAPH, COMPILED_GRAPH):
        step = _capture(step, rows[0])

    def run() -> None:
        for indices in rows:
            if form == REDUCE_OVERHEAD:
                torch.compiler.cudagraph_mark_step_begin()
            step(indices)
        _synchronize()

    return run


def _capture(
    step: Callable[[torch.Tensor], None], example: torch.Tensor
) -> Callable[[torch.Tensor], None]:
    """Return `step` as a CUDA graph, which reads its indices from one tensor."""
    indices = example.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles, chooses kernels and makes the optimizer's state
        for _ in range(3):
            step(indices)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        # thread_local: threads of JAX may allocate memory meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step(indices)
    except Exception:  # the stream and the random generator would stay those of the graph
        torch.cuda.set_stream(torch.cuda.default_stream())
        fresh = torch.Generator("cuda").graphsafe_get_state()
        torch.cuda.default_generators[torch.cuda.current_device()].graphsafe_set_state(fresh)
        raise

    def replay(rows: torch.Tensor) -> None:
        indices.copy_(rows)
        graph.replay()

    return replay


def _set_precision(precision: str) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = True


def _autocast(precision: str) -> contextlib.AbstractContextManager:
    if precision == "bfloat16":  # a weight is used once in a step: nothing to cache
        return torch.autocast(device().type, torch.bfloat16, cache_enabled=False)
    return contextlib.nullcontext()


def _synchronize() -> None:
    if on_gpu():
        torch.cuda.synchronize()
