"""Tests of the service and of the training; they train a model of their own."""
