"""Celery's own integration tests, run twice: on Celery's own task class and on SkillTask."""
