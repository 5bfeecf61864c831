"""A folder of definitions -> one checked, frozen, hashed project; its schemas, formatting, differences and tests."""
