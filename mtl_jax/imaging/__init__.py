"""Read an image, resample it to 200 um, correct its background and crop 128x128 ROIs."""
