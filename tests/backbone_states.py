"""State dicts with the names and shapes of torchvision's VGG16 and ResNet-18, made up, and the two
networks in NumPy, for the tests of backbones. Written from the papers, not from the package."""

import numpy as np

State = dict[str, np.ndarray]
VGG = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def _kernel(rng: np.random.Generator, out: int, wide: int, size: int) -> np.ndarray:
    scale = np.float32(np.sqrt(2 / (wide * size**2)))
    return scale * rng.standard_normal((out, wide, size, size), np.float32)


def _norm(rng: np.random.Generator, name: str, maps: int, scale: float = 1.0) -> State:
    return {
        f"{name}.weight": rng.uniform(0.5 * scale, 1.5 * scale, maps).astype(np.float32),
        f"{name}.bias": 0.1 * rng.standard_normal(maps, np.float32),
        f"{name}.running_mean": 0.2 * rng.standard_normal(maps, np.float32),
        f"{name}.running_var": rng.uniform(0.5, 2.0, maps).astype(np.float32),
        f"{name}.num_batches_tracked": np.array(7),
    }


def vgg16(normalized: bool = False) -> State:
    """torchvision's vgg16 or, `normalized`, vgg16_bn, without the classifier."""
    rng, state, wide, place = np.random.default_rng(1), {}, 3, 0
    for item in VGG:
        if item != "M":
            state[f"features.{place}.weight"] = _kernel(rng, item, wide, 3)
            state[f"features.{place}.bias"] = 0.1 * rng.standard_normal(item, np.float32)
            if normalized:
                state |= _norm(rng, f"features.{place + 1}", item)
            place, wide = place + 1 + normalized, item
        place += 1  # a rectifier, or the pool
    return state


def resnet18() -> State:
    """torchvision's resnet18 with its last layer, `fc`."""
    rng = np.random.default_rng(2)
    state, wide = {"conv1.weight": _kernel(rng, 64, 3, 7)} | _norm(rng, "bn1", 64), 64
    for number, maps in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{number}.{block}"
            state[f"{name}.conv1.weight"] = _kernel(rng, maps, wide, 3)
            state |= _norm(rng, f"{name}.bn1", maps)
            state[f"{name}.conv2.weight"] = _kernel(rng, maps, maps, 3)
            # Small, as in networks that were trained, so that eight sums do not grow and grow.
            state |= _norm(rng, f"{name}.bn2", maps, scale=0.25)
            if maps != wide:
                state[f"{name}.downsample.0.weight"] = _kernel(rng, maps, wide, 1)
                state |= _norm(rng, f"{name}.downsample.1", maps)
            wide = maps
    state["fc.weight"], state["fc.bias"] = np.zeros((1000, 512), np.float32), np.zeros(1000, "f4")
    return state


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int = 1, pad: int = 1) -> np.ndarray:
    """`x` (h, w, c) and `kernel` (out, in, row, column) in float64 -> (h', w', out)."""
    size = kernel.shape[2]
    x = np.pad(x.astype(np.float64), ((pad, pad), (pad, pad), (0, 0)))
    rows, columns = (n - size + 1 for n in x.shape[:2])
    shifted = (
        x[i : i + rows, j : j + columns] @ kernel[:, :, i, j].T.astype(np.float64)
        for i in range(size)
        for j in range(size)
    )
    return sum(shifted)[::stride, ::stride]


def normalized(x: np.ndarray, state: State, name: str) -> np.ndarray:
    """Batch normalization of `x` (h, w, c) at the running statistics."""
    deviation = np.sqrt(state[f"{name}.running_var"].astype(np.float64) + 1e-5)
    y = (x - state[f"{name}.running_mean"]) / deviation
    return y * state[f"{name}.weight"] + state[f"{name}.bias"]


def pooled(x: np.ndarray, size: int) -> np.ndarray:
    """The largest of each window, every second one."""
    rows, columns = ((n - size) // 2 + 1 for n in x.shape[:2])
    windows = [
        x[i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(size)
        for j in range(size)
    ]
    return np.max(windows, 0)


def residual(x: np.ndarray, state: State, name: str, stride: int) -> np.ndarray:
    """A block of ResNet-18 as He et al. have it: its sum is rectified."""
    y = convolved(x, state[f"{name}.conv1.weight"], stride)
    y = np.maximum(normalized(y, state, f"{name}.bn1"), 0)
    y = normalized(convolved(y, state[f"{name}.conv2.weight"]), state, f"{name}.bn2")
    if f"{name}.downsample.0.weight" in state:
        x = convolved(x, state[f"{name}.downsample.0.weight"], stride, 0)
        x = normalized(x, state, f"{name}.downsample.1")
    return np.maximum(x + y, 0)
