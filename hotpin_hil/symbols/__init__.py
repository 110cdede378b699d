"""Code addresses → function, file and line, from the ELF file of a firmware build."""
