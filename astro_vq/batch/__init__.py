"""Many files: jobs, who does them, in which order, and a record of what came of each."""
