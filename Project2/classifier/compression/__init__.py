"""A model made small: one file a kind, and what compares them."""
