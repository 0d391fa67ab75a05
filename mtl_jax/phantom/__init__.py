"""Simulate mammograms with known labels: tissue, masses, image physics and DICOM files."""
