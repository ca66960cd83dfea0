"""How fast it is: `python -m tests.benchmarks`. What is compared, with whom, and what was hoped for."""
