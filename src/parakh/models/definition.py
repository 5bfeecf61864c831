"""What a model is: a file of trees or a graph, its inputs by name, and the mode it runs in."""

from __future__ import annotations

from dataclasses import dataclass

from parakh.rules.definition import Mode

__all__ = ["Model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model over one event type; `content` is the file's bytes, so that the project's hash covers them."""

    name: str
    event_type: str
    file: str
    inputs: tuple[str, ...]
    content: bytes
    mode: Mode = Mode.LIVE
    card: tuple[tuple[str, str], ...] = ()  # free-form facts: trained on, by whom, metrics
    description: str = ""
