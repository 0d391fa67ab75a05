"""Read an image, resample it, correct its background and crop 128x128 ROIs."""
