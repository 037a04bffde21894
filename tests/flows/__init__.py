"""The flows between the code and its substrate: a table as data, a case per row, and a page made of both.

`python -m tests.flows` (`make flows`) injects each row's fault against real servers and real workers, prints what held,
and writes docs/flows.md. What is not built yet is shown as such and counts as nothing.
"""
