"""Pure functions over the reports of a board: no board, no pytest, no clock."""
