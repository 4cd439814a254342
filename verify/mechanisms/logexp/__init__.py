"""Log-exp attention (LE)."""
