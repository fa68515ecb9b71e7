"""Tests of the service and of training; they train their own model."""
