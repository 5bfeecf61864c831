"""One offline HTML page of a run: what was decided, how well, three decisions at length, and what a change would do."""
