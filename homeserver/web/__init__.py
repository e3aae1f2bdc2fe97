"""The endpoint kit: declare an operation once, derive everything else."""
