"""Looks at a machine before an arm is driven from it: what is there, what will not work, and what to do."""
