"""From a collection on disk to shards of ROIs and folds of cases."""
