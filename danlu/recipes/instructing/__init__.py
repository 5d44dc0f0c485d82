"""The parts of ``danlu instruct``: prompts, seed tasks, what is kept, and the two methods."""
