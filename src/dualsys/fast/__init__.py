"""System 1: the planner turns latents, wrist images and arm state into plans; control executes them."""
