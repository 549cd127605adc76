"""The smallest pipeline over traffic: one reduction of short windows, so that much of it is over at any time."""

BEGIN = 1_714_521_600_000
SHORT = """
[reduce.short]
key = ["user"]
window = { tumbling = "5s" }
values = { n = "count()", q = "sum(quantity)" }
ttl = "none"
"""
SOURCE = 'timestamp = "at"\nout_of_order = "1s"\n'
