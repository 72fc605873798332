"""The tests: laws of every room, statistics, benchmarks."""
