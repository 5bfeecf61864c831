"""Expressions: SQL text to a checked tree, to a columnar program, to words; and the values that columns hold."""
