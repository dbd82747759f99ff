"""Sensor gateway: an acknowledged reading is on disk, once, whatever happens."""

__version__ = "0.1.0"
