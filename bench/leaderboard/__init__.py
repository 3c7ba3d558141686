"""The leaderboard: a pure function of the stored members and the suite."""
