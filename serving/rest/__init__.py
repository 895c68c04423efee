"""The calls of the HTTP contract: each takes a message, calls one function, gives a message."""
