"""Features: aggregates of an entity's events over exact windows, kept up to date event by event."""
