"""Scoring of files: ``python -m inference.batch IN OUT``.

1. ``source.py`` reads the file in blocks of whole rows, from anywhere in it.
2. ``scoring.py`` makes a block's answers, in a process for each CPU, by the formats and the predictor of the service.
3. ``job.py`` puts them in order, for ``target.py``, which remembers how far it is, so that a job that was stopped goes on.

``files.py`` reaches what is not here, in S3.
"""
