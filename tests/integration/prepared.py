"""Imported by the process from which `parakh serve` is forked: it has the service imported and its kernels loaded."""

import parakh.cli.serve
import parakh.service.server
import parakh.service.startup  # noqa: F401
from kernels import load_kernels

load_kernels()
