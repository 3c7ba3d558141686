"""Colours, markers and sizes of every figure and page."""
