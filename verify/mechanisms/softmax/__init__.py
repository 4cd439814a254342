"""Conventional attention."""
