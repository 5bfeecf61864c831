"""Expressions: one language for derived fields, filters, signals, rules and bands - SQL, typed, run over columns.

    text -> parse (scan, sqlglot) -> syntax -> check (numeric, calls) -> typed -> program -> interpreter
                                                                              `-> explain, in words

Beside them: `types` and `columns`, the one dictionary `strings`, `lists` (and lookup tables), `zones` and `values`.
"""
