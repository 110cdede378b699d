"""pyserial protocol handlers; registered by `hotpin_hil.link.port.register_handlers`."""
