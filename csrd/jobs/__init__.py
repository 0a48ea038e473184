"""Worker processes of the workflow: their calls, the locks of dead runs, and the end of all workers."""
