"""python -m fdr_bench."""

from fdr_bench.cli import main

if __name__ == "__main__":
    main()
