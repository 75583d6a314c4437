"""The demonstration: real-format traffic through a whole deployment in a temporary directory, checked at every step."""
