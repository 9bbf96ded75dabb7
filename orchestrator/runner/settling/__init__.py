"""Jobs of unknown state: what the service's list of jobs proves about them."""
