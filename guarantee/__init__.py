"""The ground: records, their protocol, the log that can only grow, and its verifier."""
