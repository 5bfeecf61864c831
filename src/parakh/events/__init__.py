"""Events: their types, and the way from a source's bytes to columns in the order of the log."""
