"""Somebody's own attention function, run in a process of its own and held against exact values."""
