"""A demo AI gateway with simulated traffic that plays scripted incidents, for ``make run``, tests and benchmarks."""
