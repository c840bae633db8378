"""Records an exchange's raw market data and plays it back."""
