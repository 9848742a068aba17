"""The run folder: what its files are called and hold, one writer and one reader of them."""
