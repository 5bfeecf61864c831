"""Personal data on its way to the log: tokens and their key, card numbers in free text, and the body that is stored."""
