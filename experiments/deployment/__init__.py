"""A whole deployment on loopback: real processes, TLS, registered keys. For the demo and tests."""
