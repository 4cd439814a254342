"""The public rules that accept or reject attention kernels, and what each of them lets through."""
