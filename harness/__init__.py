"""selfharness: a language model improves the scaffold it runs in; every change is measured, kept or reverted."""
