"""Simulated worlds, tasks and scripted experts for dual-system robot policies."""
