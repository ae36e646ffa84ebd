"""What `import prsgd` offers: runs that are composed, trained and read in Python."""
