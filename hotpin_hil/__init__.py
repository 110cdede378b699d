"""Hardware-in-the-loop test harness for the HotPin ESP32-CAM."""

__version__ = "0.1.0"
