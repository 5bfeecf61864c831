"""Learning from what was decided: training sets by replay, and how well a model does."""
