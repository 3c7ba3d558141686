"""What a contributor's own optimizer, model, data set or problem must pass."""
