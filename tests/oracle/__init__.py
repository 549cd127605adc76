"""The oracle: what Redis must hold, computed from the produced records, plainly and slowly.

It is written from the rules (docs and configuration), not from the program that it judges, and shares no
code with it. Read in this order: values, expression, decode, settings, template, journal, pipeline,
database. `python3 tests/oracle/oracle.py --help` runs it by hand.
"""
