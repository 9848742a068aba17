"""Image folders to CSV tasks to batches: `<root>/<split>/<class>/<file>` in, `Batch` out."""
