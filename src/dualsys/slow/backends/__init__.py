"""What runs the System 2 network: one file per runtime."""

from __future__ import annotations
