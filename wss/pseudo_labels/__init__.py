"""Labels a split offline: predictions on disk, selection, a new data set."""
