"""Arms: what a driver is, the drivers, limits of known arms, and their kinematics."""
