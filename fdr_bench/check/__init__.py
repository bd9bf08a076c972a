"""A run held against a committed reference, so that no detector and no metric gets worse unseen: `fdr-bench check`.

reference    the file that is committed, and what makes it whole
guarded      what a run gives to compare, as a reference keeps it and as it is now
regression   the comparison, exact or statistical
findings     what came of it, and the exit code
report       JSON, JUnit XML, Markdown
"""
