"""How a request arrives and how its answer leaves."""
