"""Write pictures to a new folder: the dataset as decided, or predictions sorted by label."""
