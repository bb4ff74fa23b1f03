"""System 2: images and an instruction to a latent, a few times a second."""

from __future__ import annotations
