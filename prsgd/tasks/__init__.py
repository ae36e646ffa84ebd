"""What is learned: batches, the loss, and what is measured."""
