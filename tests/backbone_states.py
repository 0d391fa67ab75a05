"""Random state dicts in torchvision's form of VGG16 and ResNet-18, and both networks in NumPy.

The NumPy code follows the papers and is independent of the package.
"""

import numpy as np

State = dict[str, np.ndarray]
VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def _kernel(rng: np.random.Generator, outputs: int, channels: int, size: int) -> np.ndarray:
    scale = np.float32(np.sqrt(2 / (channels * size**2)))
    return scale * rng.standard_normal((outputs, channels, size, size), np.float32)


def _norm(rng: np.random.Generator, name: str, maps: int, scale: float = 1.0) -> State:
    return {
        f"{name}.weight": rng.uniform(0.5 * scale, 1.5 * scale, maps).astype(np.float32),
        f"{name}.bias": 0.1 * rng.standard_normal(maps, np.float32),
        f"{name}.running_mean": 0.2 * rng.standard_normal(maps, np.float32),
        f"{name}.running_var": rng.uniform(0.5, 2.0, maps).astype(np.float32),
        f"{name}.num_batches_tracked": np.array(7),
    }


def vgg16(normalized: bool = False) -> State:
    """Return a state dict of vgg16 or, if `normalized`, vgg16_bn, without the classifier."""
    rng, state, channels, index = np.random.default_rng(1), {}, 3, 0
    for item in VGG:
        if item != "M":
            state[f"features.{index}.weight"] = _kernel(rng, item, channels, 3)
            state[f"features.{index}.bias"] = 0.1 * rng.standard_normal(item, np.float32)
            if normalized:
                state |= _norm(rng, f"features.{index + 1}", item)
            index, channels = index + 1 + normalized, item
        index += 1  # the rectifier or the pool
    return state


def resnet18() -> State:
    """Return a state dict of resnet18 with its last layer, `fc`."""
    rng = np.random.default_rng(2)
    state, channels = {"conv1.weight": _kernel(rng, 64, 3, 7)} | _norm(rng, "bn1", 64), 64
    for number, maps in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{number}.{block}"
            state[f"{name}.conv1.weight"] = _kernel(rng, maps, channels, 3)
            state |= _norm(rng, f"{name}.bn1", maps)
            state[f"{name}.conv2.weight"] = _kernel(rng, maps, maps, 3)
            # A small scale, as in trained networks, keeps the eight sums of order 1.
            state |= _norm(rng, f"{name}.bn2", maps, scale=0.25)
            if maps != channels:
                state[f"{name}.downsample.0.weight"] = _kernel(rng, maps, channels, 1)
                state |= _norm(rng, f"{name}.downsample.1", maps)
            channels = maps
    state["fc.weight"], state["fc.bias"] = np.zeros((1000, 512), np.float32), np.zeros(1000, "f4")
    return state


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int = 1, pad: int = 1) -> np.ndarray:
    """Convolve `x` (h, w, c) with `kernel` (out, in, row, column) in float64."""
    size = kernel.shape[2]
    x = np.pad(x.astype(np.float64), ((pad, pad), (pad, pad), (0, 0)))
    rows, columns = (n - size + 1 for n in x.shape[:2])
    shifted = (
        x[i : i + rows, j : j + columns] @ kernel[:, :, i, j].T.astype(np.float64)
        for i in range(size)
        for j in range(size)
    )
    return sum(shifted)[::stride, ::stride]


def batch_normalize(x: np.ndarray, state: State, name: str) -> np.ndarray:
    """Apply batch normalization with running statistics to `x` (h, w, c)."""
    deviation = np.sqrt(state[f"{name}.running_var"].astype(np.float64) + 1e-5)
    y = (x - state[f"{name}.running_mean"]) / deviation
    return y * state[f"{name}.weight"] + state[f"{name}.bias"]


def max_pool(x: np.ndarray, size: int) -> np.ndarray:
    """Apply max pooling of stride 2."""
    rows, columns = ((n - size) // 2 + 1 for n in x.shape[:2])
    windows = [
        x[i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(size)
        for j in range(size)
    ]
    return np.max(windows, 0)


def residual_block(x: np.ndarray, state: State, name: str, stride: int) -> np.ndarray:
    """Apply a block of ResNet-18 as in He et al. 2016, rectified after the sum."""
    y = convolve(x, state[f"{name}.conv1.weight"], stride)
    y = np.maximum(batch_normalize(y, state, f"{name}.bn1"), 0)
    y = batch_normalize(convolve(y, state[f"{name}.conv2.weight"]), state, f"{name}.bn2")
    if f"{name}.downsample.0.weight" in state:
        x = convolve(x, state[f"{name}.downsample.0.weight"], stride, 0)
        x = batch_normalize(x, state, f"{name}.downsample.1")
    return np.maximum(x + y, 0)
