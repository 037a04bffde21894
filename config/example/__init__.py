"""A living example: a small newspaper whose agents gather, write, order and print, so that a first visit sees work.

`manage.py example load` starts it, the workers perform it, and `manage.py example remove` takes it away again. All of
its agents, skills, workflows, services, sessions and objectives are named `example…`: nothing else is touched.
"""
