"""The peers' own programs: no-op jobs, and clients that enqueue them. They run in the peers' environments."""
