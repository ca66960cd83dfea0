"""What is read once and run many times: one IR, traced from Python, reversed by the ops' own rules, run."""
