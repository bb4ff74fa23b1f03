"""The measurements that the documentation quotes: `python -m dualsys.bench staleness|tasks`."""

from __future__ import annotations
