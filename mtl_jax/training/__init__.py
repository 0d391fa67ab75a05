"""Training: frozen layers, the training step, epochs, checkpoints and prediction."""
