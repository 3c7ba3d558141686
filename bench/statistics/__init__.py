"""Estimates over seeds with their intervals; tests."""
