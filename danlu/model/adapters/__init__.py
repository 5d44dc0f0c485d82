"""A few trained weights beside a frozen model: what they are, where they go, their files, and merging them in."""
