"""Studies: the runs of each stage, their training and the evaluation of their scores."""
