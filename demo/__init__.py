"""A demo AI gateway that plays a scripted incident, for ``make run``, the tests and the benchmarks."""
