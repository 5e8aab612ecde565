"""What the writer and the reviewer of a change ask for: a new one, what is wrong with it, what it meets, its statements."""
