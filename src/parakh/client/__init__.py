"""The Python client of the service: asks for decisions over HTTP, with time-outs, retries under one id and typed results."""
