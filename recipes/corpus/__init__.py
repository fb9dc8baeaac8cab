"""The corpus from which small cross-encoders are distilled: passages, queries, and who is compared with whom."""
