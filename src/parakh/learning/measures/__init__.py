"""How well a score does: measures, costs, intervals, and all of them in one evaluation."""
