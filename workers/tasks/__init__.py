"""The definitions that ship with Taskloom."""
