"""Scoring of files: ``python -m inference.batch IN OUT``.

1. ``source.py`` reads the file in blocks of whole rows, from any position.
2. ``scoring.py`` predicts a block, in one process per CPU, with the formats and the predictor of the service.
3. ``job.py`` puts the answers in order for ``target.py``, which saves its progress so that a stopped job can resume.

``files.py`` accesses files by path or in S3.
"""
