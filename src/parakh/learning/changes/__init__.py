"""What has changed: drift of inputs, scores and rates against a reference, and segments that leave their history."""
