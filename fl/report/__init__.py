"""Metrics, tables, plots and the HTML report, shared by experiments and audit."""
