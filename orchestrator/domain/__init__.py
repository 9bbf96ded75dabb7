"""The words of the product as values: job specs, jobs, runs, states, events, and the ports to the world."""
