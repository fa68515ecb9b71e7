"""An AWS CLI that fails one call."""

import os
import shutil

SHIM = """#!/bin/sh
# Notes what is asked for, and does not answer one of it from some time on.
before=$(grep -cx "$1 $2" '{log}' || true)
echo "$1 $2" >>'{log}'
tr '\\0' ' ' </proc/$PPID/cmdline | cut -d ' ' -f 1-3 >>'{log}.callers'
if [ "$1 $2" = '{denied}' ] && [ "$before" -ge {after} ]; then
  echo >&2
  echo '{error}' >&2
  exit 254
fi
exec '{real}' "$@"
"""
REFUSED = "An error occurred ({}) when calling the X operation: not today"
ERRORS = (
    REFUSED.format("AccessDeniedException"),
    REFUSED.format("ThrottlingException"),
    REFUSED.format("ExpiredTokenException"),
    'Could not connect to the endpoint URL: "https://aws.invalid/"',
)


class Denials:
    """A folder for PATH that holds such an AWS CLI."""

    def __init__(self, account, folder):
        self._path = account.environment["PATH"]
        self._folder = folder
        self._log = folder / "asked"

    def variables(self, denied="", error=ERRORS[0], after=0):
        """Return an environment in which ``denied`` fails once it has been called ``after`` times."""
        self._log.write_text("")
        self._callers = self._log.with_name("asked.callers")
        self._callers.write_text("")
        shim = self._folder / "aws"
        real = shutil.which("aws", path=self._path)
        shim.write_text(
            SHIM.format(log=self._log, denied=denied, error=error, after=after, real=real)
        )
        shim.chmod(0o755)
        return {"PATH": f"{self._folder}{os.pathsep}{self._path}"}

    @property
    def callers(self):
        """Return the first caller of each call since then: its program, with the first words of its command line."""
        callers = {}
        calls = self._log.read_text().splitlines()
        for call, caller in zip(calls, self._callers.read_text().splitlines(), strict=True):
            callers.setdefault(call, caller)
        return callers

    @property
    def asked(self):
        """The calls since then, in order."""
        calls = self._log.read_text().splitlines()
        return [call for call in calls if not call.startswith("configure ")]


def is_question(call):
    """Whether a call is read-only."""
    return call.split()[1].startswith(("batch-get-", "describe-", "get-", "list-"))
