"""What is seen of the service from outside: its logs and its metrics."""
