"""Pretraining of AlexNet's convolutions on synthetic or natural images."""
