"""A policy for panda-gym, a world that others made: `python -m dualsys.train.panda_gym`."""
