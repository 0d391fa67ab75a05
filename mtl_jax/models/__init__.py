"""Backbones with the paper's fully connected layers, applied from any layer to any later one."""
