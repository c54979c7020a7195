"""The one place that says which version this is; packaging and both command lines read it from here."""

__version__ = "0.1.0"
