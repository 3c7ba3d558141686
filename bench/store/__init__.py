"""The store: Parquet shards of members, curves and ensembles, and what they were computed with."""
