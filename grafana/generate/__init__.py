"""The dashboards, written in Python: ``make dashboards`` turns them into the JSON files beside this folder."""
