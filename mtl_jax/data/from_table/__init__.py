"""Make a manifest from a table in another form, such as the list of a hospital."""
