"""The mutations: one module each, the function with the union of its results above it."""
