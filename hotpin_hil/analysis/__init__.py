"""Pure functions over what a board reported: no board, no pytest, no clock."""
