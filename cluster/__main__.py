"""`python -m cluster`, as `accelerate launch --module cluster` runs it."""

from cluster.cli import main

if __name__ == "__main__":
    main(prog_name="reward-cluster")
