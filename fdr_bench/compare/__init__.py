"""Two models' answers to the same images, held against each other: `fdr-bench compare`.

paired       differences of metrics with their intervals and p-values
comparison   two runs, over the images that both have
report       tables and JSON
samples      the single samples, as a page shows them
"""
