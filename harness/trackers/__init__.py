"""Trackers project the journal somewhere. They never stop a run."""
