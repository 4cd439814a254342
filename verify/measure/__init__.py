"""How far an output is from the exact one: one error vocabulary, where errors come from, and rows of weights."""
