"""Other task queues, and a stock server, on the same databases with the same work: ``make bench-peers``."""
