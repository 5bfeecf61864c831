"""Judgement: the plan that a project compiles to, the engine that runs it, the policy, the record and replay."""
