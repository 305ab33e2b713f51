"""What `dev/peers` and `dev/spark` are made of: `cli` reads the command line, `peers` makes virtual environments, `spark` unpacks
Spark. What both have in common is a `Set`. Standard library only."""
