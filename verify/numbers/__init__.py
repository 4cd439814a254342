"""What numbers are: formats and arithmetics as data, correct rounding, precision, balls."""
