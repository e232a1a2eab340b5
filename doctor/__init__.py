"""What lies in the model folders, what it is by its tensors, and what can run with it. Nothing is loaded or changed."""
