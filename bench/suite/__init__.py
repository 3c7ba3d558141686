"""A suite: its cells, its tuning, its pairs in several processes."""
