"""Back ends of the log, the one order in which events, labels and project changes act: embedded on disk."""
