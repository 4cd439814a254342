"""Mechanisms with features: w_t = phi(q).phi(k_t)."""
