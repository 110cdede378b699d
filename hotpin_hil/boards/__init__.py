"""What a board is: which kind, on which port, with which firmware build; and a virtual board's process."""
