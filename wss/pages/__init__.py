"""Self-contained HTML pages: what a run, a data set or pseudo labels are, in one file to show."""
