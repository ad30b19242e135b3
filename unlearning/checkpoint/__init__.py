"""What comes of it: the edit as a difference of bits, its gates, and the checkpoint behind them."""
