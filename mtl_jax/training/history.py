"""The history of a training: its file, and TensorBoard events for those who watch it there."""

from pathlib import Path
from types import TracebackType
from typing import Self

from mtl_jax import whole
from mtl_jax.nouns import InputError


def cut(path: Path, epochs: int) -> Path:
    """Drops from history.jsonl what an interrupted training wrote after its last checkpoint."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole.write_text(path, "".join(lines[:epochs]))
    return path


class TensorBoard:
    """Writes each epoch's line to `folder`/tensorboard; does nothing unless `enabled`."""

    def __init__(self, folder: Path, enabled: bool) -> None:
        self._writer = None
        if enabled:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise InputError(
                    "config.train.tensorboard needs tensorboardX: pip install tensorboardX"
                ) from error
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, line: dict[str, float]) -> None:
        if self._writer:
            for name, value in line.items():
                if name not in ("epoch", "step"):
                    self._writer.add_scalar(name, value, line["epoch"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer:
            self._writer.close()
