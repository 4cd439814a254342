"""What a mechanism must be like to be measured, and whether it is."""
