"""What the bench of snapshots measures: this repository's, and what others would do in its place, on one server and one store."""
