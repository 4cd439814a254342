"""Cases of other suites: what they mean as problems, and how a function is called for them."""
