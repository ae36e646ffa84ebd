"""prsgd: parallel restarted SGD, an experiment runner. See README.md."""
