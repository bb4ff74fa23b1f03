"""Cameras: what a driver is, the drivers, and how a frame becomes the image that a model wants."""
