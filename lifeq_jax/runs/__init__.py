"""The format of a run folder: names and columns of its files, their writer and their reader."""
