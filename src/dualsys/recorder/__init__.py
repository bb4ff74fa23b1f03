"""The flight recorder: what control and the planner took in and decided, in one file, and its replay."""
