"""The benchmark: ``make bench``, or ``python -m tests.bench``. Not a test: no figure in here passes or fails."""
