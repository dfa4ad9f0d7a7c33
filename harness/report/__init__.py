"""The report of a run: one page out of the journal, for a reviewer who must say yes or no."""
