"""Benchmarks that anyone can rerun: ``python -m experiments.bench.NAME --out FILE.json``."""
