"""From a collection on disk to shards of regions of interest and folds of cases."""
