"""What each endpoint computes."""
