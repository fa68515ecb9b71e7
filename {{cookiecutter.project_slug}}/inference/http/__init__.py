"""The HTTP layer: from receiving a request to sending its response."""
