"""Checks the firmware against a checkout of ESP-IDF, without its toolchain. Run ../check_headers.py."""
