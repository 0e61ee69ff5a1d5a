"""What writes data/, and what publishes the course; neither is in the wheel."""
