"""The project's claims about speed and accuracy, each measured beside its baseline. Run through ``scripts/bench.py``."""
