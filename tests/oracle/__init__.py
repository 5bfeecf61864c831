"""Slow, obvious answers, written from the design alone, that the fast code is held to."""
