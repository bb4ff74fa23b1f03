"""Control: one thread that follows plans within the limits of the arm, slows, holds and stops."""
