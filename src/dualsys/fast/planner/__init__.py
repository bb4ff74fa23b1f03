"""Turns what System 1 predicts into one continuous plan."""
