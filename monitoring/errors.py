"""The base of every error that the monitoring raises."""


class MonitoringError(Exception):
    """What the monitoring cannot do; each subclass asks its caller for another act."""
