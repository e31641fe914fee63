"""Load and random faults on real processes and servers, then a check of all that the database saw: ``make chaos``.

``docs/chaos.md`` says what is done and what is proven.
"""
