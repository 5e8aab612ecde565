"""References between databases, which no constraint can hold: the validator for writers, the scan for what is there."""
