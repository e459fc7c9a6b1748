"""Studies: many trainings of one data set, their tables, and what is kept of each."""
