"""Speed, as ratios of two ways of doing something in one run (`make bench`); never part of the tests."""
