"""The command `attnproof`; what can be imported is `verify`."""
