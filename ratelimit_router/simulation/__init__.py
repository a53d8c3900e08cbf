"""Virtual time: the real router through hours of storm in a second."""
