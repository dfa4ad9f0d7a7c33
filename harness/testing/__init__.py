"""Contract tests of the seams, shipped so that the author of another implementation can run them (pytest)."""
