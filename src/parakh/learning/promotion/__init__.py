"""What comes to decide: versions of models, gates, and the bands of a policy."""
