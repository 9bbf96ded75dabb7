"""What the terminal and the logs show: subscribers of the run's events, chosen by ``cli``."""
