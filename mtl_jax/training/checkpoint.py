"""Saving and restoring a training in progress. The only room of training that knows Orbax."""

from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from mtl_jax.nouns import InputError, Params, TrainState


class Checkpoints:
    """The checkpoints of one run, numbered by finished epochs; the latest two are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        keep = ocp.checkpoint_managers.LatestN(2)
        # Written at once, not in the background: the state is donated to the next step.
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, epoch: int, state: TrainState) -> None:
        self._manager.save(epoch, args=ocp.args.StandardSave(state._asdict()))

    def latest(self) -> int | None:
        """The number of finished epochs of the newest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def restore(self, epoch: int, like: TrainState) -> TrainState:
        """The state after `epoch` epochs, on the devices of `like`.

        Raises InputError where what is stored is damaged or of another shape than `like`.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like._asdict())
        try:
            return TrainState(
                **self._manager.restore(epoch, args=ocp.args.StandardRestore(abstract))
            )
        except Exception as error:  # what Orbax and TensorStore raise has no common type
            raise InputError(
                f"{self._folder / str(epoch)}: this checkpoint cannot be read back "
                f"({str(error).splitlines()[0][:120]}); delete that folder and run again"
            ) from error

    def params(self) -> Params:
        """The parameters of the newest checkpoint, as NumPy arrays, whatever trained them.

        Raises InputError where there is none or it is damaged.
        """
        epoch = self.latest()
        if epoch is None:
            raise InputError(f"{self._folder}: no checkpoint here; run the job to its end first")
        try:
            stored = self._manager.restore(epoch, args=ocp.args.StandardRestore())
            return jax.tree.map(np.asarray, dict(stored["params"]))
        except Exception as error:  # what Orbax and TensorStore raise has no common type
            raise InputError(
                f"{self._folder / str(epoch)}: this checkpoint cannot be read back "
                f"({str(error).splitlines()[0][:120]}); run the job again"
            ) from error

    def close(self, keep: int) -> None:
        """Ends a finished run: only the checkpoint of epoch `keep` stays on disk."""
        for epoch in self._manager.all_steps():
            if epoch != keep:
                self._manager.delete(epoch)
        self._manager.close()
