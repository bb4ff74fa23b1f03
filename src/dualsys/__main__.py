"""`python -m dualsys` is the program `dualsys`."""

from __future__ import annotations

import sys

from dualsys.cli import main

sys.exit(main())
