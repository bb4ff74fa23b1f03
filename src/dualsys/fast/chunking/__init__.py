"""Chunk strategies: how a chunk of actions that took time to compute joins the motion under way."""
