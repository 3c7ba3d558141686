"""Computing what the store lacks: which engine, how many at once, in which processes."""
