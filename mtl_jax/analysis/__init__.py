"""Analyses of trained networks (t-SNE, convergence, attribution maps), and conventional CAD."""
