"""The benchmark: composes `shb` with the configurations of `conf`, keeps the store, prints the leaderboard."""
