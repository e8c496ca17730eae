"""Programs compiled for GPUs that are not there, read, and judged; nothing here runs on a GPU."""
