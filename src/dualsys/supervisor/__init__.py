"""Starts the processes of a system, watches them, runs episodes, and leaves a complete run folder."""
