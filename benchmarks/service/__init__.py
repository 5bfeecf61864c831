"""The benchmark of the live service: a load generator, a server that does nothing, and the real one beside it."""
