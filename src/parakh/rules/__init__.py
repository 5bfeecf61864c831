"""Rules, and the lists and lookup tables that they read."""
