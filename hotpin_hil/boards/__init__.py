"""Boards: kinds, choice, leases, power, firmware builds, and the processes of virtual boards."""
