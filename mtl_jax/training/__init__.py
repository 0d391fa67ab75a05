"""One training: what is frozen, the step, the epoch, the checkpoint. Knows no study."""
