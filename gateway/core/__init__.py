"""The pure core: no I/O, no clock, no asyncio. Time is an argument."""
