"""Files in common formats, for every package."""
