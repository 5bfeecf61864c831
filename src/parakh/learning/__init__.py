"""Learning from what was decided: the past replayed, what it teaches, and the loop that proposes it to people."""
