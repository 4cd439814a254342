"""Polynomials of the logits: symmetric features, state, forms, exact values, bounds and checks."""
