"""Rates and latencies beside what the server itself needs: ratios within one run, because machines are noisy."""
