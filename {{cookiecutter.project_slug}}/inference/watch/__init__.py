"""What is seen of the service from outside: its logs and its metrics."""

# The environment variable that names the folder in which workers share their counts.
METRICS_FOLDER = "METRICS_FOLDER"
