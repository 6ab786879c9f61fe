"""What a user asks for: compress, plan, verify, evaluate, inspect, and the steps of a run."""
