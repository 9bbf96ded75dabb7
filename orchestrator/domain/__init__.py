"""Words of the product as values: specs, jobs, runs, states, events, and the ports to the world."""
