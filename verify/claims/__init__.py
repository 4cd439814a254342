"""What is known, proved or checked."""
