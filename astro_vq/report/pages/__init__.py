"""Pages of a report: HTML that needs nothing beside it."""
