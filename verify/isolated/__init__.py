"""Functions of somebody else: called in a process of their own, or in this one where that is wished."""
