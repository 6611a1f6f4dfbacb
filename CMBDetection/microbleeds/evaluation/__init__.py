"""Comparison of findings with a reference: matching rules, rates, and whole folders of results."""
