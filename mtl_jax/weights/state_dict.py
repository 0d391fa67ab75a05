"""Chooses the state dict in a PyTorch checkpoint, by its structure."""

from collections.abc import Mapping
from typing import Any

from mtl_jax.exclusion_reasons import shortened
from mtl_jax.weights.torch_pickle import Tensor

KEYS = ("state_dict", "model", "model_state_dict", "net")  # where training scripts keep it
MAX_NAMES = 8  # listed in a message or a note; the rest are counted
MAX_LEVELS = 3
SAVE = "save only the network's: torch.save(model.state_dict(), FILE)"


class Unclear(Exception):
    """The checkpoint does not say which of its parts is the network."""


def choose(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the state dict that `content` is or holds, and notes on all other entries.

    The entry is the one of KEYS, else the only dict of tensors. Raises Unclear where there is none,
    where several hold different tensors, or where a part of a layer is no tensor.
    """
    return _choose(content, MAX_LEVELS)


def _choose(content: Any, levels: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if not isinstance(content, Mapping):
        raise Unclear(f"holds no state dict; {SAVE}")
    dicts = {name: value for name, value in content.items() if _has_tensors(value, levels)}
    known = [name for name in KEYS if name in dicts]
    candidates = known or list(dicts)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if candidates:
        name = candidates[0]
        if any("." in own for own in tensors):
            raise Unclear(f"holds layers beside the state dict {shown(name)!r}; {SAVE}")
        if any(dicts[other] != dicts[name] for other in candidates):
            raise Unclear(f"holds several state dicts ({_listed(candidates)}); {SAVE}")
        chosen, notes = _choose(dicts[name], levels - 1)
        others = [str(other) for other in content if other != name]
        beside = f"; left out beside it: {_listed(others)}" if others else ""
        return chosen, (f"taken from the checkpoint's {shown(name)!r}{beside}", *notes)
    others = [str(name) for name in content if name not in tensors]
    if not tensors:
        raise Unclear(f"holds no state dict (it holds {_listed(others) or 'nothing'}); {SAVE}")
    parts = [name for name in others if "." in name]
    if parts:
        raise Unclear(f"holds {_listed(parts)}, which is no tensor; {SAVE}")
    return tensors, (f"left out, no tensors: {_listed(others)}",) if others else ()


def _has_tensors(value: Any, levels: int) -> bool:
    """Return whether `value` is a dict with a named tensor in it, or in a named dict in it. (An
    optimizer numbers its tensors.)"""
    if not isinstance(value, dict) or not levels:
        return False
    named = [item for name, item in value.items() if isinstance(name, str)]
    return any(isinstance(i, Tensor) for i in named) or any(
        _has_tensors(item, levels - 1) for item in named
    )


def shown(name: Any) -> str:
    """Return a name from a file that may be hostile, fit for one line."""
    text = str(name)
    return text if text.isprintable() and len(text) < 80 else ascii(text[:80])[1:-1]


def _listed(names: list[Any]) -> str:
    return shortened([shown(name) for name in names], MAX_NAMES)
