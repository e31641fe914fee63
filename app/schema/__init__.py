"""The GraphQL edge: the schema, what it is made of, and how it is served over HTTP and WebSockets."""
