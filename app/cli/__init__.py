"""The command ``taskloom``: reads arguments, calls the service, shows the answer; nothing is decided here."""
