"""The live service: decisions over HTTP, durable before they are answered, from one process with nothing beside it."""
