"""What trained networks hold: t-SNE, convergence, deconvolution maps; and conventional CAD."""
