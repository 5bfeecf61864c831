"""The ledger: what was decided and taken in, found in the log by what it was about, the newest first."""

from parakh.service.ledger.filters import BadCursor, BadFilter, LedgerFilter
from parakh.service.ledger.query import Ledger, Page

__all__ = ["BadCursor", "BadFilter", "Ledger", "LedgerFilter", "Page"]
