"""Single changes of the code, each put to the tests that execute it (`make mutants`); all in a copy under build/."""
