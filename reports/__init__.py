"""Records to tables, figures and one self-contained page. Knows no algorithm."""
