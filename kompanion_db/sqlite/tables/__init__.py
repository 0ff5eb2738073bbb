"""Table-valued functions: their columns, the forms of their values, and how SQLite calls them."""
