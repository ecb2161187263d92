"""What a turn costs, measured: the gateway beside what people would write or run instead.

`make bench` (`python -m bench`) starts everything on loopback, pins the subject to one core and all else to the other,
and writes `RESULTS.md` with its plot. Trust ratios of one run; absolute figures are the machine's.
"""
