"""What is worked out at once, some rows of a head, and where: in this process or in others."""
