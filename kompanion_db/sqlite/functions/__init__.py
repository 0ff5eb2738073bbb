"""One module a theme, one function for each public SQL function of sql/, by its name."""
