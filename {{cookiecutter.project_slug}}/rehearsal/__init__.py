"""Rehearse a deployment without an AWS account: ``make rehearse``."""
