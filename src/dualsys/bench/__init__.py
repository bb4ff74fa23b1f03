"""The measurements that the documentation quotes: `python -m dualsys.bench staleness|tasks|delay`."""

from __future__ import annotations
