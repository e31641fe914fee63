"""Other task queues on the same servers and the same work: ``make bench-peers``, or ``python -m tests.bench.peers``."""
