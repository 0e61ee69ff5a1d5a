"""What was trained and measured, and the tables that lessons draw; makers/ writes data/."""
