"""The virtual ESP32-CAM: reset circuit, ROM loader, flash, boot log, the host-built firmware as its CPU."""
