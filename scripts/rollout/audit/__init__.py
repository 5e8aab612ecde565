"""The audit trail of the product's data: the chain that seals it, its heads in the object store, its partitions."""
