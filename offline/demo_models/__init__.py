"""Small models trained from scratch on the simulated community, for the demo and the tests. What they know is that community alone."""
