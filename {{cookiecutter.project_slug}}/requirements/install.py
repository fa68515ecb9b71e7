"""Install exactly what a lock file pins: ``python3 requirements/install.py FOLDER LOCK [OPTION ...]``.

FOLDER becomes a new virtual environment of the Python that runs this, and uv installs LOCK into it;
OPTIONs are passed to ``uv pip sync``. The uv next to this Python is used if it has the version pinned in
requirements/uv.txt; otherwise any version of pip installs that one into a temporary environment. pip's
settings for package sources (index, mirror, proxy, certificates) apply, from pip.conf or the environment.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

UV_LOCK = Path(__file__).with_name("uv.txt")
ATTEMPTS = 3

# pip settings and the equivalent uv variables.
PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}
# uv variables that are honored: where packages come from, and how.
UV_SETTINGS = re.compile(
    "UV_(CACHE_DIR|CONFIG_FILE|FIND_LINKS|INSECURE_HOST|KEYRING_PROVIDER|LINK_MODE|NATIVE_TLS"
    "|NO_CACHE|OFFLINE|SYSTEM_CERTS|(CONCURRENT|DEFAULT_INDEX|EXTRA_INDEX|HTTP|INDEX)(_.+)?)"
)


class InstallError(Exception):
    """Raised if the packages cannot be installed; the message says why and what to do."""


def main(folder, lock, *options):
    """Recreate FOLDER and install LOCK; raises InstallError."""
    environment = {name: value for name, value in os.environ.items() if counts(name)}
    with tempfile.TemporaryDirectory(prefix="uv-") as temporary:
        python, uv = Path(sys.executable), find_uv()
        if uv is None:
            python = create_environment(temporary, with_pip=True)
        settings = read_pip_settings(python)
        for name, values in settings.items():
            separator = "," if name == "find-links" else " "
            environment.setdefault(PIP_SETTINGS[name], separator.join(values))
        # A mirror may lack packages that another index has. Safe, because every file's hash is checked.
        environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
        if uv is None:
            uv = install_uv(python, settings, environment)
        if not can_cache(uv, environment):
            environment["UV_NO_CACHE"] = "1"
        target = create_environment(folder)
        print(f"Installing the packages of {lock} ...", flush=True)
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", target]
        if subprocess.run([*sync, *options, lock], env=environment).returncode:
            raise InstallError(f"Could not install {lock}: see the error above")


def counts(name):
    """Whether an environment variable of the caller may affect the installation."""
    return bool(UV_SETTINGS.fullmatch(name)) or not name.startswith(("PIP_", "PYTHON", "UV_"))


def find_uv():
    """Return the uv next to this Python if it has the pinned version, else None."""
    uv = Path(sys.executable).with_name("uv")
    pinned = re.search(r"^uv==(\S+)", UV_LOCK.read_text(), re.MULTILINE)[1]
    if not uv.is_file():
        return None
    answer = subprocess.run([uv, "--version"], stdout=subprocess.PIPE, text=True).stdout
    return uv if answer.split()[1:2] == [pinned] else None


def create_environment(folder, with_pip=False):
    """Create a virtual environment and return its Python; raises InstallError."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        raise InstallError(
            f"{sys.executable} has no venv module; on Debian and Ubuntu: "
            f"apt-get install python{version}-venv"
        )
    import venv

    try:
        venv.create(folder, clear=True, symlinks=True, with_pip=with_pip)
    except subprocess.CalledProcessError as error:
        print(error.output.decode(errors="replace"), file=sys.stderr)
        raise InstallError(
            f"Could not create the environment {folder}: see the error above"
        ) from error
    except (OSError, ValueError) as error:
        raise InstallError(f"Could not create the environment {folder}: {error}") from error
    # uv then writes scripts that still start when the folder is moved or copied.
    with Path(folder, "pyvenv.cfg").open("a") as file:
        file.write("relocatable = true\n")
    return Path(folder, "bin", "python").absolute()


def read_pip_settings(python):
    """Return the values of all PIP_SETTINGS that are set for ``pip install``."""
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        stdout=subprocess.PIPE,
        text=True,
    )
    found = {}
    # Later sections take precedence.
    for section in ("global", "install", ":env:"):
        for key, value in re.findall(rf"^{section}\.(\S+)=(.+)$", listing.stdout, re.MULTILINE):
            if key in PIP_SETTINGS:
                found[key] = ast.literal_eval(value).split()
    # pip only warns about a missing folder, so leave it out for uv.
    links = found.get("find-links", [])
    found["find-links"] = [link for link in links if ":" in link or Path(link).exists()]
    return {name: values for name, values in found.items() if values}


def install_uv(python, settings, environment):
    """Install the pinned uv next to ``python`` with pip and return its path; raises InstallError."""
    index = environment.get("UV_DEFAULT_INDEX", environment.get("UV_INDEX_URL"))
    sources = [f"--{name}={value}" for name, values in settings.items() for value in values]
    if index and "index-url" not in settings:
        sources.append(f"--index-url={index}")
    pip = [python, "-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check", "install"]
    print("Installing uv ...", flush=True)
    # pip retries failed connections, but not every interrupted download.
    for _ in range(ATTEMPTS):
        done = subprocess.run(
            [*pip, *sources, "--require-hashes", "--only-binary=:all:", "-r", UV_LOCK],
            env=environment,
        )
        if done.returncode == 0:
            return python.with_name("uv")
    raise InstallError(
        f"Could not install uv, which installs all other packages ({ATTEMPTS} attempts)"
    )


def can_cache(uv, environment):
    """Whether files can be created in uv's cache folder, creating the folder if needed."""
    answer = subprocess.run(
        [uv, "cache", "dir"], env=environment, stdout=subprocess.PIPE, text=True
    )
    if answer.returncode:
        return False
    folder = Path(answer.stdout.strip())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    if sys.version_info < (3, 11):
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Python 3.11 or newer is needed, {sys.executable} is {version}: "
            "name another one, for example PYTHON=python3.13"
        )
    try:
        main(*sys.argv[1:])
    except InstallError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("Interrupted: the packages are not all installed", file=sys.stderr)
        sys.exit(130)
