"""Expressions: one language for derived fields, filters, signals, rules and bands - SQL, typed, run over columns.

    text -> parse -> syntax -> check -> typed -> program -> interpreter
                                             `-> explain, in words

`parse` is `tokens`, `scan`, sqlglot and `conversion`; `check` has the rules of `numeric` and `calls`; the interpreter
has `lookups`. Beside them: `aggregate` for what features compute, `types` and `columns`, the one dictionary `strings`,
`lists` (and lookup tables), `zones` and `values`.
"""
