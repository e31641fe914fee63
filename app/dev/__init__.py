"""Taskloom on a developer's machine: embedded PostgreSQL and Valkey, and the supervisor behind ``taskloom dev``."""
