"""Devices for a gateway without hardware: made-up ones, this very machine, and recordings."""
