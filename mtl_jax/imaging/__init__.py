"""Pixels of one image: reading, 200 um, flat background, 128x128 ROIs. Knows no labels."""
