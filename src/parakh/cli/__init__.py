"""The command line: one module a verb. It reads arguments and prints results; the packages do everything else."""
