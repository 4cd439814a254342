"""The command line: one file per command, no arithmetic, one place where errors become messages and exit codes."""
