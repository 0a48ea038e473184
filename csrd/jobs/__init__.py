"""Worker processes of the workflow: locks of dead runs, and ends that reach every worker."""
