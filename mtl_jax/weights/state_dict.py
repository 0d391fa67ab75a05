"""Choose the state dict in a PyTorch checkpoint by the structure of the checkpoint."""

from collections.abc import Mapping
from typing import Any

from mtl_jax.exclusion_reasons import join_first
from mtl_jax.weights.torch_pickle import Tensor

KEYS = ("state_dict", "model", "model_state_dict", "net")  # names in training scripts
MAX_NAMES = 8  # in a message or note; the others are counted
MAX_DEPTH = 3
CURE = "save only the network's: torch.save(model.state_dict(), FILE)"


class AmbiguousCheckpoint(Exception):
    """The checkpoint has no state dict, or several."""


def choose_state_dict(
    content: Any, max_depth: int = MAX_DEPTH
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict that `content` is or contains, and notes on all other entries.

    It is the entry named as in KEYS, else the only dict of tensors. Raises AmbiguousCheckpoint if
    there is none, several have different tensors, or a part of a layer is not a tensor.
    """
    if not isinstance(content, Mapping):
        raise AmbiguousCheckpoint(f"has no state dict; {CURE}")
    dicts = {name: value for name, value in content.items() if _has_tensors(value, max_depth)}
    candidates = [name for name in KEYS if name in dicts] or list(dicts)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if candidates:
        name = candidates[0]
        if any("." in tensor_name for tensor_name in tensors):
            raise AmbiguousCheckpoint(
                f"has layers beside the state dict {printable(name)!r}; {CURE}"
            )
        if any(dicts[candidate] != dicts[name] for candidate in candidates):
            raise AmbiguousCheckpoint(f"has several state dicts ({_join(candidates)}); {CURE}")
        state_dict, notes = choose_state_dict(dicts[name], max_depth - 1)
        others = [str(entry) for entry in content if entry != name]
        left_out = f"; other entries left out: {_join(others)}" if others else ""
        return state_dict, (f"taken from the entry {printable(name)!r}{left_out}", *notes)
    others = [str(name) for name in content if name not in tensors]
    if not tensors:
        raise AmbiguousCheckpoint(
            f"has no state dict (it has {_join(others) or 'nothing'}); {CURE}"
        )
    layer_parts = [name for name in others if "." in name]
    if layer_parts:
        raise AmbiguousCheckpoint(f"has {_join(layer_parts)}, which is not a tensor; {CURE}")
    return tensors, (f"entries that are not tensors left out: {_join(others)}",) if others else ()


def _has_tensors(value: Any, max_depth: int) -> bool:
    """Return whether a dict, or a dict in it, has a tensor under a text key.

    The state of an optimizer has numbers as keys.
    """
    if not isinstance(value, dict) or not max_depth:
        return False
    items = [item for name, item in value.items() if isinstance(name, str)]
    return any(isinstance(item, Tensor) for item in items) or any(
        _has_tensors(item, max_depth - 1) for item in items
    )


def printable(name: Any) -> str:
    """Return a name from an untrusted file, shortened and escaped to one line."""
    text = str(name)
    return text if text.isprintable() and len(text) < 80 else ascii(text[:80])[1:-1]


def _join(names: list[Any]) -> str:
    return join_first([printable(name) for name in names], MAX_NAMES)
