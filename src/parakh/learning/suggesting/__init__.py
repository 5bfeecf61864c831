"""Rules that data suggest: mined, judged on a later span, written in shadow for people."""
