"""Running an audit: jobs, executors, and what they write."""
