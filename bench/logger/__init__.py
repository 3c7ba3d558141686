"""W&B, beside the store."""
