"""The command line: one module a verb. It reads arguments and prints results; everything else is done by the packages."""
